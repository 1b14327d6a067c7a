// The receiver answers at webhook URLs: it verifies Mandrill's batches and sends their events on as
// CloudEvents.
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
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/dispatch"
	"github.com/mandrill-operator/mandrill-operator/receiver/kube"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

type options struct {
	config, routesSecret  string
	environment           *environment // nil: the routes are in a document
	kubeconfig            string
	operatorURL           string
	sinkHosts             string
	certFile, keyFile     string
	shutdownDelay         time.Duration
	tokens                map[string]string // files by audience
	listen, metricsListen string
	pprofListen           string
	maxInflightBytes      int64
	maxBodyBytes          int64
	sinkConcurrency       int
	buffer                bufferOptions
	adminPath             string
	admin                 *adminSocket // nil: none
	logLevel              slog.Level
}

// The causes of not being ready.
var (
	errStopping          = errors.New("the receiver is stopping")
	errNotLoaded         = errors.New("no routes have been loaded yet")
	errBufferUnavailable = errors.New("the buffer cannot be written")
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		os.Exit(1)
	}
}

func parseFlags(args []string, getenv func(string) string) (options, error) {
	var o options
	flags := flag.NewFlagSet("receiver", flag.ContinueOnError)
	flags.StringVar(&o.config, "config", "", "file with the routes document; loaded again when it changes")
	flags.StringVar(&o.routesSecret, "routes-secret", "", "NAMESPACE/NAME of the first of the Secrets with routes that the operator writes")
	flags.StringVar(&o.listen, "listen", ":8080", "address to answer webhooks on")
	flags.StringVar(&o.certFile, "tls-cert-file", "", "certificate of the server, PEM, read again when it is renewed; default: no TLS")
	flags.StringVar(&o.keyFile, "tls-key-file", "", "key of the certificate")
	flags.DurationVar(&o.shutdownDelay, "shutdown-delay", 0, "how long to go on after SIGTERM, while /readyz says no, until no load balancer sends anything new")
	flags.StringVar(&o.metricsListen, "metrics-listen", ":9090", "address of /metrics, /healthz and /readyz")
	flags.StringVar(&o.pprofListen, "pprof-listen", "", "address of /debug/pprof/, such as :6060, which is of this machine alone when it has no host; default: none")
	flags.StringVar(&o.operatorURL, "operator-url", "", "URL of the operator, such as http://mandrill-operator.mandrill-operator-system:8082, to tell it of bad signatures; default: it is not told")
	o.tokens = map[string]string{}
	flags.Func("oidc-token", "AUDIENCE=FILE with the OIDC token for sinks that ask for one, read again when it is renewed; once for each audience", o.addToken)
	flags.StringVar(&o.sinkHosts, "allow-sink-hosts", "", "comma-separated hosts to allow as sinks though they are loopback, link-local or a metadata service; without --routes-secret all are allowed")
	flags.IntVar(&o.sinkConcurrency, "sink-concurrency", sink.DefaultConcurrency, "requests to one sink at the same time, fewer while it is overloaded")
	flags.Int64Var(&o.maxBodyBytes, "max-body-bytes", receiver.DefaultMaxBodyBytes, "largest body of a request; inbound mail with attachments is large")
	flags.Int64Var(&o.maxInflightBytes, "max-inflight-bytes", receiver.DefaultMaxInflightBytes, "memory for the bodies of all requests together; what finds no room within 5 s is answered with 503")
	o.buffer.add(flags)
	flags.StringVar(&o.adminPath, "admin-socket", "", "path of the Unix socket at which receiver dead-letters reaches this receiver; default: "+adminSocketName+" in --buffer-dir, and none without")
	flags.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; default: $KUBECONFIG, or the pod's own account")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if err := o.chooseRoutes(getenv); err != nil {
		return o, err
	}
	if (o.certFile == "") != (o.keyFile == "") {
		return o, errors.New("give both --tls-cert-file and --tls-key-file, or neither")
	}
	if o.shutdownDelay < 0 {
		return o, errors.New("--shutdown-delay must not be negative")
	}
	if o.maxBodyBytes <= 0 {
		return o, errors.New("--max-body-bytes must be positive")
	}
	if o.maxInflightBytes < 2*o.maxBodyBytes {
		return o, errors.New("--max-inflight-bytes must be at least twice --max-body-bytes, because a body is copied while its buffer grows")
	}
	if o.sinkConcurrency <= 0 {
		return o, errors.New("--sink-concurrency must be positive")
	}
	if parsed, err := url.Parse(o.operatorURL); o.operatorURL != "" && (err != nil || parsed.Hostname() == "" || parsed.Scheme != "http" && parsed.Scheme != "https") {
		return o, errors.New("--operator-url must be an absolute http or https URL")
	}
	if strings.ContainsAny(o.operatorURL, "?#") {
		return o, errors.New("--operator-url must have neither query nor fragment")
	}
	if err := o.buffer.check(); err != nil {
		return o, err
	}
	var err error
	if o.admin, err = newAdminSocket(o.adminPath, o.buffer); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return o, nil
}

// addToken takes AUDIENCE=FILE.
func (o *options) addToken(text string) error {
	audience, path, ok := strings.Cut(text, "=")
	if !ok || audience == "" || path == "" {
		return errors.New("it is not of the form AUDIENCE=FILE")
	}
	if _, repeated := o.tokens[audience]; repeated {
		return errors.New("the audience has a file already")
	}
	if _, err := os.ReadFile(path); err != nil { //nolint:gosec // the user's file
		return fmt.Errorf("reading the token: %w", err)
	}
	o.tokens[audience] = path
	return nil
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	if len(args) > 0 && args[0] == "check" {
		return check(args[1:], getenv, stdout)
	}
	if len(args) > 0 && args[0] == "dead-letters" {
		return deadLetters(ctx, args[1:], stdout)
	}
	o, err := parseFlags(args, getenv)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: o.logLevel}))
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := receiver.NewMetrics(registry)
	loaded := &routing.Routes{Logger: logger, Metrics: routing.NewMetrics(registry)}
	sender := newSender(o, sink.NewMetrics(registry))
	handling := receiver.Options{Routes: loaded, Sender: sender, Metrics: metrics, Logger: logger, MaxBodyBytes: o.maxBodyBytes, MaxInflightBytes: o.maxInflightBytes}
	var hinter *receiver.HintReporter
	if o.operatorURL != "" {
		hinter = receiver.NewHintReporter(receiver.HintReporterOptions{URL: o.operatorURL, Metrics: metrics, Logger: logger})
		handling.Signatures = hinter
	}
	traces, err := newTraces(ctx, getenv, logger)
	if err != nil {
		return err
	}
	if traces != nil { // a nil pointer would be no nil interface
		handling.Tracer = traces
		defer flushTraces(ctx, traces, logger)
	}
	kept, err := o.buffer.open(dispatch.Options{Routes: loaded, Sender: sender, Metrics: dispatch.NewMetrics(registry, metrics.Events), Tracer: handling.Tracer, Logger: logger}, registry, logger)
	if err != nil {
		return err
	}
	if kept != nil {
		handling.Buffer = kept.journal
	}
	handler := receiver.NewHandler(handling)
	var certificate *tls.Config
	if o.certFile != "" {
		renewed, err := receiver.NewCertificate(o.certFile, o.keyFile, logger, time.Now)
		if err != nil {
			return fmt.Errorf("--tls-cert-file, --tls-key-file: %w", err)
		}
		certificate = renewed.Config()
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	adminListener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.metricsListen)
	if err != nil {
		return fmt.Errorf("--metrics-listen: %w", err)
	}
	ready := func(request context.Context) error {
		switch {
		case ctx.Err() != nil:
			return errStopping
		case !loaded.Ready():
			return errNotLoaded
		case kept != nil && !kept.journal.Available(request):
			return errBufferUnavailable
		}
		return nil
	}
	webhooks := &receiver.Server{Listener: listener, Handler: handler, Logger: logger, TLS: certificate, Delay: o.shutdownDelay}
	health := &receiver.Server{Listener: adminListener, Handler: admin.HealthHandler(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), ready), Logger: logger}
	parts := []func(context.Context) error{
		health.Serve,
		func(ctx context.Context) error { return watchRoutes(ctx, o, loaded, logger) },
	}
	if kept != nil {
		parts = append(parts, kept.run, o.admin.serve(kept.journal, logger))
	}
	if hinter != nil {
		parts = append(parts, func(ctx context.Context) error { hinter.Run(ctx); return nil })
	}
	if o.pprofListen != "" {
		pprofListener, err := listenPprof(ctx, o.pprofListen)
		if err != nil {
			return err
		}
		parts = append(parts, (&receiver.Server{Listener: pprofListener, Handler: pprofHandler(), Logger: logger}).Serve)
		logger.Info("Serving profiles", "pprofListen", pprofListener.Addr().String())
	}
	logger.Info("Started", "listen", listener.Addr().String(), "metricsListen", adminListener.Addr().String())
	return serve(ctx, webhooks.Serve, parts...)
}

// serve runs the server of webhooks until the context ends or a part fails, and the other parts until that has answered
// its last request.
func serve(ctx context.Context, webhooks func(context.Context) error, parts ...func(context.Context) error) error {
	group, broken := errgroup.WithContext(context.WithoutCancel(ctx))
	life, end := context.WithCancel(broken)
	serving, stop := context.WithCancel(broken)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	group.Go(func() error {
		defer end()
		return webhooks(serving)
	})
	for _, part := range parts {
		group.Go(func() error { return part(life) })
	}
	return group.Wait()
}

func newSender(o options, metrics *sink.Metrics) *sink.Sender {
	return sink.NewSender(sink.Options{Poster: newClient(o), Concurrency: o.sinkConcurrency, Metrics: metrics})
}

// newClient returns what makes requests to sinks. Routes in the cluster are written by its users, who must not use the
// receiver to reach what only it can; a file or the environment is the administrator's own, and the sinks may be on this
// machine.
func newClient(o options) *sink.Client {
	tokens := &sink.Tokens{Files: o.tokens}
	if o.routesSecret == "" {
		return &sink.Client{Tokens: tokens}
	}
	return &sink.Client{
		Tokens:     tokens,
		Refuse:     routes.LocalAddress,
		AllowHosts: strings.FieldsFunc(strings.ToLower(o.sinkHosts), func(c rune) bool { return c == ',' || c == ' ' }),
	}
}

func watchRoutes(ctx context.Context, o options, loaded *routing.Routes, logger *slog.Logger) error {
	if o.config != "" {
		return loaded.WatchFile(ctx, o.config)
	}
	if o.environment != nil {
		if _, err := o.environment.read(); err == nil && !o.environment.hadKeys {
			logger.Warn("Found no signing key, batches are answered with 503 until there is one", "variable", variableKey)
		}
		return loaded.Watch(ctx, routing.Document{Name: environmentName, Files: o.environment.files(), Read: o.environment.read})
	}
	namespace, name, err := kube.ParseName(o.routesSecret)
	if err != nil {
		return fmt.Errorf("--routes-secret: %w", err)
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules() // without any file: the pod's own account
	rules.ExplicitPath = o.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return fmt.Errorf("finding the API server: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a Kubernetes client: %w", err)
	}
	return kube.WatchSecrets(ctx, client, namespace, name, loaded, logger)
}
