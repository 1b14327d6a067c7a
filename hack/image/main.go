// Image makes the container images of the programs from static binaries, without Docker:
//
//	image build -version v1.2.3 -repo ghcr.io/example    images as files, and in a registry with -push
//	image registry -address-file FILE                    a registry in memory, on loopback, until it is told to stop
//	image tamper FROM TO                                 copies an image and its signatures, and changes the image
//	image push FILE REFERENCE                            pushes an archive of one image
//
// An image has a program, the certificates of public authorities, and nothing else: no shell, no packages, no users.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) == 0 {
		return errors.New("give a command: build, registry, tamper or push")
	}
	switch command, args := args[0], args[1:]; command {
	case "build":
		o, err := parse(args)
		if err != nil {
			return err
		}
		return o.build(ctx, stdout)
	case "registry":
		flags := flag.NewFlagSet("image registry", flag.ContinueOnError)
		file := flags.String("address-file", "", "where to write the address, host:port, once the registry answers")
		if err := flags.Parse(args); err != nil {
			return err
		}
		return serveRegistry(ctx, *file)
	case "tamper":
		if len(args) != 2 {
			return errors.New("give two references: image tamper FROM TO")
		}
		return tamper(ctx, args[0], args[1])
	case "push":
		if len(args) != 2 {
			return errors.New("give an archive and a reference: image push FILE REFERENCE")
		}
		return pushArchive(ctx, args[0], args[1])
	default:
		return fmt.Errorf("there is no command %q, only build, registry, tamper and push", command)
	}
}

// options are the flags of image build.
type options struct {
	binaries, out string
	repo, push    string
	version       string
	commit        string
	created       time.Time
	archs         []string
	programs      []program
}

func parse(args []string) (options, error) {
	o := options{programs: programs}
	var archs, created string
	flags := flag.NewFlagSet("image build", flag.ContinueOnError)
	flags.StringVar(&o.binaries, "binaries", "dist/bin", "folder with the programs, each at OS_ARCH/NAME")
	flags.StringVar(&o.out, "out", "dist", "folder for the images")
	flags.StringVar(&o.repo, "repo", "mandrill-operator.io", "prefix of the names of images")
	flags.StringVar(&o.version, "version", "", "tag of the images")
	flags.StringVar(&o.commit, "commit", "", "commit of the programs, for the label")
	flags.StringVar(&created, "created", "0", "time of creation, in seconds since 1970; the same inputs make the same image")
	flags.StringVar(&archs, "archs", "amd64 arm64", "architectures, separated by spaces")
	flags.StringVar(&o.push, "push", "", "registry, or prefix of names in one, to which the images are also pushed")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	seconds, err := strconv.ParseInt(created, 10, 64)
	if err != nil {
		return o, errors.New("-created must be a number of seconds")
	}
	o.created, o.archs = time.Unix(seconds, 0).UTC(), strings.Fields(archs)
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.version == "":
		return o, errors.New("give -version, such as v1.2.3")
	case len(o.archs) == 0:
		return o, errors.New("give at least one architecture")
	}
	return o, nil
}
