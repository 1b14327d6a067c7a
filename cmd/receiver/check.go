package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/cmd/receiver/checks"
	"github.com/mandrill-operator/mandrill-operator/cmd/usage"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// check runs receiver check: it describes what the receiver does with a routes document and its flags, or why it refuses them. The output
// contains no secrets.
func check(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	var o options
	flags := flag.NewFlagSet("receiver check", flag.ContinueOnError)
	o.add(flags)
	probe := flags.Bool("probe", false, "also resolve the hosts of URLs, and ask the sinks with HEAD")
	usage.Help(flags, "receiver check describes what the receiver does with its flags and routes, or why it refuses them.", nil)
	if err := usage.Parse(flags, args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	document, err := o.checkRoutes(getenv)
	if err != nil {
		return err
	}
	if err := o.complete(getenv); err != nil {
		return err
	}
	if o.certFile != "" {
		if _, err := receiver.NewCertificate(o.certFile, o.keyFile, slog.New(slog.DiscardHandler), time.Now); err != nil {
			return fmt.Errorf("--tls-cert-file, --tls-key-file: %w", err)
		}
	}
	return describeRoutes(ctx, document, *probe, stdout)
}

// checkRoutes reads the routes of --config or of the environment.
func (o *options) checkRoutes(getenv func(string) string) (*routes.Document, error) {
	if o.routesSecret != "" {
		return nil, errors.New("--routes-secret is read in the cluster only: give --config FILE or the variables " + variableURL + " and " + variableSink)
	}
	if err := o.chooseRoutes(getenv); errors.Is(err, errNoRoutes) {
		return nil, errors.New("give --config FILE or the variables " + variableURL + " and " + variableSink)
	} else if err != nil {
		return nil, err
	}
	var data []byte
	var err error
	if o.environment != nil {
		data, err = o.environment.read()
	} else {
		data, err = os.ReadFile(o.config)
	}
	if err != nil {
		return nil, fmt.Errorf("reading routes: %w", err)
	}
	document, err := routes.DecodeOwn(data)
	if err != nil {
		return nil, err
	}
	_, err = routing.NewTable(document)
	return document, err
}

// describeRoutes prints a block for each route, and a summary.
func describeRoutes(ctx context.Context, document *routes.Document, probe bool, stdout io.Writer) error {
	var blocks []string
	faults := 0
	for _, route := range document.Routes {
		block := checks.Describe(route)
		if probe {
			lines, found := checks.Probe(ctx, route)
			block += strings.Join(lines, "")
			faults += found
		}
		blocks = append(blocks, block)
	}
	if len(blocks) == 0 {
		blocks = []string{"no routes: every request is answered with 404\n"}
	} else {
		blocks = append(blocks, checks.Summary(document.Routes)+"\n")
	}
	if _, err := io.WriteString(stdout, strings.Join(blocks, "\n")); err != nil {
		return errors.New("writing the description")
	}
	if faults > 0 {
		return fmt.Errorf("--probe has found %s", counted(faults, "fault", "faults"))
	}
	return nil
}
