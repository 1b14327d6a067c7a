// The emulator serves an emulated Mandrill: the API, the probe of webhook URLs, and the sender. docs/emulator.md
// describes it and its controls at /emulator/.
package main

import (
	"context"
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

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/version"
	"github.com/mandrill-operator/mandrill-operator/version/buildinfo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "mandrill-emulator:", err)
		os.Exit(1)
	}
}

// settings are what the flags say.
type settings struct {
	mandrilltest.Options
	listen       string
	emitInterval time.Duration
}

// parse parses the flags. It returns nil after it has printed the version.
func parse(args []string, stdout io.Writer) (*settings, error) {
	var s settings
	flags := flag.NewFlagSet("mandrill-emulator", flag.ContinueOnError)
	flags.StringVar(&s.listen, "listen", "127.0.0.1:8085", "address of the API, at /api/1.0/, and of the controls, at /emulator/")
	apiKeys := flags.String("api-key", "test-key", "comma-separated API keys to accept, each with an account of its own")
	flags.DurationVar(&s.BatchInterval, "batch-interval", time.Minute, "time between posts to one URL")
	flags.DurationVar(&s.RetryInterval, "retry-interval", 20*time.Minute, "mean time between attempts to post a batch")
	flags.DurationVar(&s.emitInterval, "emit-interval", 0, "generate an event in every account once per interval, with each kind in turn; 0: none")
	flags.BoolVar(&s.ValidMX, "valid-mx", false, "report the MX records of inbound domains as valid")
	flags.Uint64Var(&s.Seed, "seed", 0, "makes ids, signing keys and pauses the same each time; 0: random")
	flags.Float64Var(&s.Speed, "speed", 1, "how much faster than real time the emulator's clock runs, 0.001 to 10000")
	start := flags.String("start", "", "what the emulator's clock says at first, such as 2026-01-01T00:00:00Z; default: the real time")
	showVersion := flags.Bool("version", false, "print the version, the commit, the version of Go and the platform, and exit")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if *showVersion {
		_, err := fmt.Fprintln(stdout, "mandrill-emulator", version.Get())
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if s.BatchInterval <= 0 || s.RetryInterval <= 0 || s.emitInterval < 0 {
		return nil, errors.New("intervals must be positive")
	}
	if !mandrilltest.IsSpeed(s.Speed) {
		return nil, errors.New("--speed must be 0.001 to 10000")
	}
	if *start != "" {
		var err error
		if s.Start, err = time.Parse(time.RFC3339, *start); err != nil {
			return nil, errors.New("--start must be a time such as 2026-01-01T00:00:00Z")
		}
	}
	s.APIKeys = strings.Split(*apiKeys, ",")
	return &s, nil
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	s, err := parse(args, stdout)
	if s == nil || err != nil {
		return err
	}
	s.Logger = slog.New(slog.NewJSONHandler(os.Stderr, nil))
	s.Logger.Info("Starting", version.Get().LogValues()...)
	emulator := mandrilltest.New(s.Options)
	defer emulator.Close()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	server := &http.Server{Handler: withMetrics(emulator), ReadHeaderTimeout: 10 * time.Second}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	if s.emitInterval > 0 {
		group.Go(func() error { return emit(ctx, emulator, s.APIKeys, s.emitInterval) })
	}
	s.Logger.Info("Started", "api", "http://"+listener.Addr().String()+"/api/1.0")
	return group.Wait()
}

// withMetrics adds /metrics, which says which build runs.
func withMetrics(emulator http.Handler) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), buildinfo.New("emulator"))
	mux := http.NewServeMux()
	mux.Handle("/", emulator)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

// emit generates events, one kind after the other, until the context ends.
func emit(ctx context.Context, emulator *mandrilltest.Server, keys []string, interval time.Duration) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	kinds := mandrilltest.Kinds()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for _, key := range keys {
			if _, err := emulator.Account(key).Emit(kinds[i%len(kinds)]); err != nil { //nolint:contextcheck // senders live as long as the server
				return err
			}
		}
	}
}
