// The receiver serves webhook endpoints: it verifies Mandrill's batches and delivers their events as CloudEvents.
//
// Subcommands: receiver check shows what a routes document means, receiver dead-letters lists, shows, redrives and purges the
// dead letters in a buffer, receiver backlog lists, shows, drops and sets aside what waits in it, and receiver events prints the last
// events and those that come.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/cmd/receiver/events"
	"github.com/mandrill-operator/mandrill-operator/cmd/receiver/repeatedlogs"
	"github.com/mandrill-operator/mandrill-operator/cmd/receiver/tracing"
	"github.com/mandrill-operator/mandrill-operator/cmd/usage"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/delivery"
	"github.com/mandrill-operator/mandrill-operator/receiver/dispatch"
	"github.com/mandrill-operator/mandrill-operator/receiver/page"
	"github.com/mandrill-operator/mandrill-operator/receiver/recent"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
	"github.com/mandrill-operator/mandrill-operator/receiver/systemd"
	"github.com/mandrill-operator/mandrill-operator/version"
	"github.com/mandrill-operator/mandrill-operator/version/buildinfo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) })() // a second Ctrl-C does not wait for --shutdown-delay
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		os.Exit(1)
	}
}

// subcommands are shown by -h.
var subcommands = []usage.Subcommand{
	{Name: "check", Does: "describe what the receiver does with routes and flags, or why it refuses them"},
	{Name: "dead-letters", Does: "list, show, redrive and purge events that were given up"},
	{Name: "backlog", Does: "list, show, drop and set aside what waits in the buffer"},
	{Name: "events", Does: "print the last attempts to deliver events, and those that come"},
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "check":
			return check(ctx, args[1:], getenv, stdout)
		case "dead-letters":
			return deadLetters(ctx, args[1:], stdout)
		case "backlog":
			return backlog(ctx, args[1:], stdout)
		case "events":
			return events.Run(ctx, args[1:], stdout, os.Stderr)
		}
		return usage.Unexpected(args[0], subcommands)
	}
	o, err := parseFlags(args, getenv)
	if err != nil {
		return err
	}
	if o.version {
		_, err := fmt.Fprintln(stdout, "receiver", version.Get())
		return err
	}
	logger := slog.New(repeatedlogs.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: o.logLevel}), time.Now))
	logger.Info("Starting", version.Get().LogValues()...)
	warnOfVariables(os.Environ(), logger)
	traces, err := tracing.New(ctx, getenv, logger)
	if err != nil {
		return err
	}
	handling := receiver.Options{Logger: logger, MaxBodyBytes: o.maxBodyBytes, MaxInflightBytes: o.maxInflightBytes}
	if traces != nil { // an interface with a nil pointer would not be nil
		handling.Tracer = traces
		defer tracing.Flush(ctx, traces, logger)
	}
	return receive(ctx, o, handling)
}

// receive serves until ctx ends or a part fails. It completes handling, which has the logger and the limits.
func receive(ctx context.Context, o options, handling receiver.Options) error {
	logger, registry := handling.Logger, prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildinfo.New("receiver"))
	metrics := receiver.NewMetrics(registry)
	table := &routing.Routes{Logger: logger, Metrics: routing.NewMetrics(registry)}
	state := delivery.New(delivery.Options{Logger: logger})
	registry.MustRegister(state)
	seen := recent.New(recent.Options{Payloads: o.page.payloads})
	defer context.AfterFunc(ctx, seen.Close)() // those who follow must not hold up the end
	sender := newSender(o, sink.NewMetrics(registry), state, seen)
	handling.Routes, handling.Sender, handling.Metrics, handling.State = table, sender, metrics, state
	parts := []func(context.Context) error{func(ctx context.Context) error { return watchRoutes(ctx, o, table, logger) }}

	dispatching := dispatch.Options{
		Routes: table, Sender: sender, Metrics: dispatch.NewMetrics(registry, metrics.Events), Tracer: handling.Tracer, Logger: logger, State: state, Recent: seen,
	}
	stored, err := o.buffer.open(dispatching, registry, logger)
	if err != nil {
		return err
	}
	if stored != nil {
		handling.Buffer = stored.journal
		parts = append(parts, stored.run, stored.watch(state, o.instance))
	}
	parts = append(parts, o.admin.serve(adminHandler(stored.admin(), seen, logger), logger))
	follow(table, state, stored)
	reporting := o.newReports(state, registry, logger)
	if reporting != nil {
		parts = append(parts, func(ctx context.Context) error { reporting.Run(ctx); return nil })
	}
	ready := readiness(ctx, table, stored)
	running, err := o.task(ctx, o.withHealthPath(receiver.NewHandler(handling), table, ready), stored, logger)
	if err != nil {
		return err
	}
	metricsHandler := admin.HealthHandler(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), ready, stored.note)
	metricsServer, err := newServer(ctx, "--metrics-listen", o.metricsListen, o.statusHandler(state, reporting, ready, metricsHandler), logger)
	if err != nil {
		return err
	}
	parts = append(parts, metricsServer.Serve)
	pagePart, err := o.pagePart(ctx, stored, seen, page.Options{State: state, Ready: ready, Logger: logger})
	if err != nil {
		return err
	}
	profilesPart, err := o.profilesPart(ctx, logger)
	if err != nil {
		return err
	}
	parts = append(parts, pagePart, profilesPart, func(ctx context.Context) error {
		logStarted(ctx, table, logger, "listen", running.listen, "metricsListen", metricsServer.Listener.Addr().String())
		return nil
	}, (&systemd.Notifier{Socket: o.notifySocket, Logger: logger}).Part(ctx, ready))
	return serve(ctx, running.run, parts...)
}

// readiness reports why the receiver is not ready to accept batches, if it is not.
func readiness(ctx context.Context, table *routing.Routes, stored *buffer) func(context.Context) error {
	return func(request context.Context) error {
		switch {
		case ctx.Err() != nil:
			return errStopping
		case !table.Ready():
			return errNotLoaded
		case stored != nil && !stored.journal.Available(request):
			return errBufferUnavailable
		}
		return nil
	}
}

// The causes of not being ready.
var (
	errStopping          = errors.New("the receiver is stopping")
	errNotLoaded         = errors.New("no routes have been loaded yet")
	errBufferUnavailable = errors.New("the buffer cannot be written")
)

// withHealthPath adds the path of --health-path, if there is one.
func (o *options) withHealthPath(webhooks http.Handler, table *routing.Routes, ready func(context.Context) error) http.Handler {
	if o.healthPath == "" {
		return webhooks
	}
	return &receiver.HealthPath{Path: o.healthPath, Routes: table, Ready: ready, Next: webhooks}
}

// webhookServer returns the server of the webhook endpoints.
func (o *options) webhookServer(ctx context.Context, handler http.Handler, logger *slog.Logger) (*receiver.Server, error) {
	var config *tls.Config
	if o.certFile != "" {
		certificate, err := receiver.NewCertificate(o.certFile, o.keyFile, logger, time.Now)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert-file, --tls-key-file: %w", err)
		}
		config = certificate.Config()
	}
	server, err := newServer(ctx, "--listen", o.listen, handler, logger)
	if err != nil {
		return nil, err
	}
	server.TLS, server.Delay = config, o.shutdownDelay
	return server, nil
}

// newServer returns a server that listens on the address that a flag gives.
func newServer(ctx context.Context, flagName, address string, handler http.Handler, logger *slog.Logger) (*receiver.Server, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flagName, err)
	}
	return &receiver.Server{Listener: listener, Handler: handler, Logger: logger}, nil
}

// serve runs task until it ends, ctx ends or a part fails. The other parts run until task has ended.
func serve(ctx context.Context, task func(context.Context) error, parts ...func(context.Context) error) error {
	group, failed := errgroup.WithContext(context.WithoutCancel(ctx))
	partsCtx, stopParts := context.WithCancel(failed)
	serving, stop := context.WithCancel(failed)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	group.Go(func() error {
		defer stopParts()
		return task(serving)
	})
	for _, part := range parts {
		group.Go(func() error { return part(partsCtx) })
	}
	return group.Wait()
}

func newSender(o options, metrics *sink.Metrics, observer sink.Observer, recorder sink.Recorder) *sink.Sender {
	return sink.NewSender(sink.Options{Poster: newClient(o), Concurrency: o.sinkConcurrency, Metrics: metrics, Observer: observer, Recorder: recorder})
}

// newClient returns the client for sinks. Users of the cluster write its routes, and must not use the receiver to reach
// addresses that only the receiver can reach. A file or the environment belongs to the administrator, whose sinks may be
// on this machine.
func newClient(o options) *sink.Client {
	tokens := &sink.Tokens{Files: o.tokens}
	if o.routesSecret == "" {
		return &sink.Client{Tokens: tokens}
	}
	return &sink.Client{
		Tokens:     tokens,
		Refuse:     routes.LocalAddress,
		AllowHosts: o.allowedHosts(),
	}
}
