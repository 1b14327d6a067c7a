// The scale benchmark measures how the operator and the receiver do with many MandrillWebhooks: a real API server
// and etcd, the two programs with the rights that config/rbac gives them, and an emulated Mandrill whose calls are
// counted. It prints a table on standard output and everything else on standard error. It judges no time: it fails
// only when objects do not become Ready, or when Mandrill does not have exactly the webhooks that it should.
//
//	KUBEBUILDER_ASSETS=<folder of etcd and kube-apiserver> go run ./test/bench/scale [-objects 5000] [-accounts 5]
//
// It expects the programs in bin/ and runs from the project's root, on Linux, whose /proc it reads.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

type options struct {
	objects, accounts int
	phases            []int         // numbers of objects, ascending, the last of them all
	samples           int           // objects to change, and to add, one after the other
	resync            time.Duration // while nothing happens
	deadline          time.Duration
	logLevel          string
}

func main() {
	o, err := parseFlags(os.Args[1:])
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	klog.SetLogger(logr.Discard()) // a watch that is set up again is nobody's concern here
	ctrl.SetLogger(logr.Discard())
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func parseFlags(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.objects, "objects", 5000, "MandrillWebhooks to create")
	flags.IntVar(&o.accounts, "accounts", 5, "Mandrill accounts to spread them over, each with a namespace of its own")
	phases := flags.String("phases", "1000,2500", "numbers of objects at which creating stops until all are Ready, to look at the routes; empty creates all at once")
	flags.IntVar(&o.samples, "samples", 20, "objects to change, and to add, one after the other")
	flags.DurationVar(&o.resync, "resync-interval", 15*time.Second, "how often accounts are listed while nothing happens; everything else runs with the operator's default")
	flags.DurationVar(&o.deadline, "deadline", 30*time.Minute, "how long anything that is waited for may take, such as all objects becoming Ready")
	flags.StringVar(&o.logLevel, "log-level", "error", "of the operator and the receiver")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.accounts < 1 || o.objects < o.accounts || o.samples < 1 || o.resync <= 0 || o.deadline <= 0 {
		return o, errors.New("all numbers must be positive, and there must be an object for each account")
	}
	for text := range strings.FieldsFuncSeq(*phases, func(c rune) bool { return c == ',' }) {
		phase, err := strconv.Atoi(text)
		if err != nil || phase < 1 {
			return o, fmt.Errorf("-phases: %q is not a number of objects", text)
		}
		if phase < o.objects {
			o.phases = append(o.phases, phase)
		}
	}
	slices.Sort(o.phases)
	o.phases = append(slices.Compact(o.phases), o.objects)
	return o, nil
}

// run prints what was measured also when something failed after it.
func run(ctx context.Context, o options) (err error) {
	folder, err := os.MkdirTemp("", "mandrill-operator-bench-")
	if err != nil {
		return fmt.Errorf("making a temporary folder: %w", err)
	}
	defer os.RemoveAll(folder)                          //nolint:errcheck // a temporary folder
	if err := os.Setenv("TMPDIR", folder); err != nil { // what the control plane leaves behind goes with it
		return fmt.Errorf("setting the temporary folder: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s, err := start(ctx, cancel, folder, o)
	defer func() { err = errors.Join(err, s.stop()) }()
	if err != nil {
		return err
	}
	b := &bench{options: o, stack: s}
	err = errors.Join(b.measure(ctx), errors.Join(b.faults...))
	if len(b.table.rows) > 0 {
		fmt.Printf("%d objects in %d accounts; %d CPUs, %s %s/%s\n\n%s", o.objects, o.accounts,
			runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, b.table.String())
	}
	if cause := context.Cause(ctx); cause != nil && err != nil {
		return cause // a program that died explains the rest
	}
	return err
}
