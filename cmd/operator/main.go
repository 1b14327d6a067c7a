// The operator keeps Mandrill and the cluster in agreement with MandrillWebhooks.
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
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrlmanager "sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cmd/usage"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/alerts"
	"github.com/mandrill-operator/mandrill-operator/controllers/certificates"
	"github.com/mandrill-operator/mandrill-operator/controllers/crd"
	"github.com/mandrill-operator/mandrill-operator/controllers/delivery"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/controllers/metrics"
	"github.com/mandrill-operator/mandrill-operator/controllers/scope"
	"github.com/mandrill-operator/mandrill-operator/controllers/sinks"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/quantity"
	"github.com/mandrill-operator/mandrill-operator/version"
	"github.com/mandrill-operator/mandrill-operator/version/buildinfo"
)

// gcPercent saves a fifth of the memory for some processor time, of which an operator needs little.
const gcPercent = 50

// discoveryTimeout is how long the API server may take to say which kinds it has.
const discoveryTimeout = 10 * time.Second

// reportsTimeout ends connections of receivers that send nothing.
const reportsTimeout = 10 * time.Second

type options struct {
	kubeconfig, apiURL                 string
	publicURL, receiverURL             string
	routesSecret, clusterDomain        string
	metricsListen, healthListen        string
	reportsListen, receiverAccounts    string
	leaderElect, crossNamespaceSinks   bool
	sinkHosts, sinkAudiences           string
	leaderElectionID, leaderElectionNS string
	scope                              scope.Scope
	resync, renameWindow               time.Duration
	maxWebhooks                        int
	maxRouteBytes                      int64
	logLevel                           slog.Level
	version                            bool // print it and exit
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := dispatch(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}

// subcommands are shown by -h.
var subcommands = []usage.Subcommand{{Name: "uninstall", Does: "delete all MandrillWebhooks while the operator runs elsewhere"}}

// dispatch runs a subcommand, or the operator itself.
func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "uninstall" {
		return runUninstall(ctx, args[1:], stdout)
	}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return usage.Unexpected(args[0], subcommands)
	}
	return run(ctx, args, stdout, stderr)
}

func parseFlags(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("operator", flag.ContinueOnError)
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; default: $KUBECONFIG, or the pod's own account")
	flags.StringVar(&o.publicURL, "public-url", "", "public URL of the receiver, such as https://hooks.example.com/mandrill; prefix of the URLs of objects that have none")
	flags.StringVar(&o.receiverURL, "receiver-url", "", "URL at which the operator itself reaches the receiver, such as http://mandrill-receiver.mandrill-operator-system; default: the public URL of each object")
	flags.StringVar(&o.apiURL, "mandrill-api-url", mandrill.DefaultBaseURL, "base URL of Mandrill's API")
	flags.StringVar(&o.routesSecret, "routes-secret", "mandrill-operator-system/mandrill-receiver-routes", "NAMESPACE/NAME of the first of the Secrets in which the receiver finds its routes; the others are NAME-1 to NAME-7")
	flags.StringVar(&o.clusterDomain, "cluster-domain", "cluster.local", "DNS domain of the cluster's Services")
	flags.BoolVar(&o.crossNamespaceSinks, "allow-cross-namespace-sinks", false, "allow sinks in another namespace than their MandrillWebhook's, by reference and by URI")
	flags.IntVar(&o.maxWebhooks, "max-webhooks-per-namespace", 1000, "how many MandrillWebhooks a namespace may have; 0 for no limit")
	flags.Var(quantity.Value(&o.maxRouteBytes, 2<<20), "max-route-bytes-per-namespace", "how many bytes the routes of a namespace may have of the 8 MiB that all have together; 0 for no limit")
	flags.StringVar(&o.sinkHosts, "allow-sink-hosts", "", "comma-separated hosts to allow as sinks although they are loopback, link-local or a metadata service")
	flags.StringVar(&o.sinkAudiences, "sink-audiences", "", "comma-separated audiences of sinks for which the receiver has OIDC tokens, by its --oidc-token")
	flags.DurationVar(&o.resync, "resync-interval", 5*time.Minute, "how often each Mandrill account is listed, within 10 %")
	flags.Func("watch-namespaces", "comma-separated namespaces of the MandrillWebhooks to handle; default: all", func(value string) error {
		o.scope.Namespaces = list(value)
		return nil
	})
	flags.StringVar(&o.scope.Installation, "installation", "", "name of this installation: handle only objects with this spec.installation; default: only objects without the field")
	flags.DurationVar(&o.renameWindow, "rename-window", 5*time.Second, "how long the webhook of a deleted object with a spec.url waits for another object with the same URL, as when a tool deletes before it creates; 0 for not at all")
	flags.StringVar(&o.metricsListen, "metrics-listen", ":9090", "address of /metrics; 0 for none")
	flags.StringVar(&o.healthListen, "health-listen", ":8081", "address of /healthz and /readyz; 0 for none")
	flags.StringVar(&o.reportsListen, "reports-listen", ":8082", "address at which receivers report about delivery and bad signatures, by their --operator-url; 0 for none")
	flags.StringVar(&o.receiverAccounts, "receiver-service-accounts", "", "comma-separated ServiceAccounts, NAMESPACE/NAME, of the shared receivers, whose reports count; default: mandrill-receiver in the namespace of the routes Secret")
	flags.BoolVar(&o.leaderElect, "leader-elect", true, "work only while holding the Lease; needed wherever two operators may run at the same time, as during an update")
	flags.StringVar(&o.leaderElectionID, "leader-election-id", "", "name of the Lease; default: mandrill-operator, with --installation mandrill-operator-NAME")
	flags.StringVar(&o.leaderElectionNS, "leader-election-namespace", "", "namespace of the Lease; default: that of the routes Secret")
	flags.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	flags.BoolVar(&o.version, "version", false, "print the version, the commit, the version of Go and the platform, and exit")
	usage.Help(flags, "The operator keeps Mandrill and the cluster in agreement with MandrillWebhooks.", subcommands,
		usage.Group{Title: "Scope and limits", Prefixes: []string{"watch-", "installation", "max-", "allow-", "sink-"}},
		usage.Group{Title: "Operation", Prefixes: []string{"metrics", "health", "log-", "leader", "reports", "receiver-service", "version", "kubeconfig"}})
	if err := usage.Parse(flags, args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, usage.Unexpected(flags.Arg(0), subcommands)
	}
	return o, o.validate()
}

func (o options) validate() error {
	for _, flag := range []struct{ name, value string }{{"public-url", o.publicURL}, {"receiver-url", o.receiverURL}, {"mandrill-api-url", o.apiURL}} {
		parsed, err := url.Parse(flag.value)
		if flag.value != "" && (err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https") {
			return fmt.Errorf("--%s must be an absolute http or https URL", flag.name)
		}
		if flag.value != "" && (parsed.Fragment != "" || parsed.RawQuery != "") {
			return fmt.Errorf("--%s must have neither query nor fragment", flag.name)
		}
	}
	if o.maxWebhooks < 0 || o.maxRouteBytes < 0 {
		return errors.New("--max-webhooks-per-namespace and --max-route-bytes-per-namespace must not be negative")
	}
	for _, namespace := range o.scope.Namespaces {
		if problems := validation.IsDNS1123Label(namespace); len(problems) > 0 {
			return fmt.Errorf("--watch-namespaces: %q is not the name of a namespace", namespace)
		}
	}
	for _, account := range list(o.receiverAccounts) {
		if namespace, name, ok := strings.Cut(account, "/"); !ok || namespace == "" || name == "" {
			return fmt.Errorf("--receiver-service-accounts: %q is not of the form NAMESPACE/NAME", account)
		}
	}
	if problems := validation.IsDNS1123Label(o.scope.Installation); o.scope.Installation != "" && (len(problems) > 0 || len(o.scope.Installation) > scope.MaxName) {
		return fmt.Errorf("--installation: %q is not a name of at most %d lower case letters, digits and -", o.scope.Installation, scope.MaxName)
	}
	if o.resync <= 0 || o.renameWindow < 0 {
		return errors.New("--resync-interval must be positive, and --rename-window not negative")
	}
	return nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseFlags(args)
	if err != nil {
		return err
	}
	if o.version {
		_, err := fmt.Fprintln(stdout, "operator", version.Get())
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	namespace, name, ok := strings.Cut(o.routesSecret, "/")
	if !ok || namespace == "" || name == "" {
		return fmt.Errorf("--routes-secret: %q is not of the form NAMESPACE/NAME", o.routesSecret)
	}
	if o.leaderElectionID == "" {
		o.leaderElectionID = o.scope.LeaseName()
	}
	if o.leaderElectionNS == "" {
		o.leaderElectionNS = namespace
	}
	logger := logr.FromSlogHandler(shutdownHandler{slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: o.logLevel}), ctx})
	ctrl.SetLogger(logger)
	klog.SetLogger(logger) // client-go's
	logger.Info("Starting", version.Get().LogValues()...)
	config, err := clusterConfig(o.kubeconfig)
	if err != nil {
		return err
	}
	if err := awaitDefinition(ctx, config, o.healthListen, logger); err != nil || ctx.Err() != nil {
		return err
	}
	manager, err := newManager(config, o)
	if err != nil {
		return err
	}
	if err := setup(ctx, manager, o, types.NamespacedName{Namespace: namespace, Name: name}); err != nil {
		return err
	}
	logger.Info("Started", "api", o.apiURL, "routesSecret", o.routesSecret, "installation", o.scope.Installation, "watchNamespaces", o.scope.Namespaces)
	return manager.Start(ctx)
}

// setup adds the controller, and what shows delivery, to the manager.
func setup(ctx context.Context, manager ctrl.Manager, o options, routesSecret types.NamespacedName) error {
	counters := metrics.New(ctrlmetrics.Registry)
	var reconciler *mandrillwebhook.Reconciler
	objects := &delivery.Objects{}
	alerter := newAlerter(manager, o, routesSecret.Namespace, objects)
	recorder := alerter.Recorder(manager.GetEventRecorder("mandrill-operator"))
	shown := delivery.New(delivery.Options{
		Client: manager.GetClient(), Recorder: recorder, Registerer: ctrlmetrics.Registry, Alerts: alerter, Objects: objects,
		Elected: manager.Elected(), Handles: o.scope.Handles, Resync: o.resync,
		SharedReceivers: receiverAccounts(o.receiverAccounts, routesSecret.Namespace),
		BadSignature:    func(object types.NamespacedName) { reconciler.KeyMayHaveChanged(object) },
	})
	expiries := &certificates.Expiries{}
	ctrlmetrics.Registry.MustRegister(certificates.Collector{Expiries: expiries, PublicURL: o.publicURL, Objects: shown.Objects, Handles: o.scope.Handles})
	reconciler = mandrillwebhook.New(mandrillwebhook.Options{
		Client: manager.GetClient(), Live: manager.GetAPIReader(), Scope: o.scope, Recorder: recorder,
		NewAPI: func(apiKey string) (account.API, error) {
			return mandrill.NewClient(mandrill.ClientOptions{Key: apiKey, BaseURL: o.apiURL, Observe: counters.ObserveCall})
		},
		Metrics: counters, Delivery: shown.Writer, Connected: expiries.Observe, RoutesSecret: routesSecret,
		PublicURL: o.publicURL, ReceiverURL: o.receiverURL, ClusterDomain: o.clusterDomain, Resync: o.resync, RenameWindow: o.renameWindow,
		AllowCrossNamespaceSinks: o.crossNamespaceSinks, AllowSinkHosts: list(strings.ToLower(o.sinkHosts)), SinkAudiences: list(o.sinkAudiences),
		MaxWebhooksPerNamespace: o.maxWebhooks, MaxRouteBytesPerNamespace: int(o.maxRouteBytes),
	})
	err := errors.Join(reconciler.SetupWithManager(ctx, manager), shown.SetupWithManager(ctx, manager),
		manager.Add(alerter), manager.Add(certificates.Watch{Expiries: expiries, PublicURL: o.publicURL}))
	if err != nil {
		return fmt.Errorf("setting up the controller: %w", err)
	}
	return serveReports(ctx, manager, o.reportsListen, shown)
}

// newAlerter returns what sends alerts. It has a resolver of its own: a change of an alert sink's address reconciles nothing.
func newAlerter(manager ctrl.Manager, o options, namespace string, objects *delivery.Objects) *alerts.Alerter {
	names := sinks.Names{Namespaces: o.scope.Namespaces, ClusterDomain: o.clusterDomain, Receiver: namespace}
	hosts := list(strings.ToLower(o.sinkHosts))
	resolver := sinks.New(sinks.Options{
		Client: o.scope.Reader(manager.GetClient(), manager.GetAPIReader()), Names: names, AllowCrossNamespace: o.crossNamespaceSinks, AllowHosts: hosts,
	}, sinks.NewWatches(manager.GetClient(), names))
	return alerts.New(alerts.Options{Resolve: resolver.ResolveAlerts, Get: objects.Get, Registerer: ctrlmetrics.Registry, AllowHosts: hosts})
}

// receiverAccounts are the ServiceAccounts of the shared receivers.
func receiverAccounts(flag, namespace string) []string {
	if accounts := list(flag); len(accounts) > 0 {
		return accounts
	}
	return []string{namespace + "/mandrill-receiver"}
}

// list splits a flag's value.
func list(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' })
}

// serveReports serves the receivers' reports as long as the manager runs.
func serveReports(ctx context.Context, manager ctrl.Manager, address string, handler http.Handler) error {
	if address == "0" {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("--reports-listen: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: reportsTimeout, ReadTimeout: reportsTimeout, IdleTimeout: 2 * time.Minute}
	if err := manager.Add(&ctrlmanager.Server{Name: "reports of receivers", Server: server, Listener: listener}); err != nil {
		return fmt.Errorf("adding the server of reports: %w", err)
	}
	return nil
}

// clusterConfig returns how to reach the API server.
func clusterConfig(kubeconfig string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules() // without any file: the pod's own account
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w", err)
	}
	config.QPS = -1 // the API server's priority and fairness limits better than a client can
	return config, nil
}

// awaitDefinition waits until the API server serves MandrillWebhooks. The manager cannot start before.
func awaitDefinition(ctx context.Context, config *rest.Config, healthListen string, logger logr.Logger) error {
	short := rest.CopyConfig(config)
	short.Timeout = discoveryTimeout
	client, err := discovery.NewDiscoveryClientForConfig(short)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	return crd.Wait(ctx, crd.Options{
		Served: func(ctx context.Context) error { return crd.Served(ctx, client) }, Logger: logger, HealthListen: healthListen,
	})
}

func newManager(config *rest.Config, o options) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("building the scheme: %w", err)
	}
	managed := mandrillwebhook.ManagerOptions(scheme)
	o.scope.Limit(&managed.Cache)
	_ = ctrlmetrics.Registry.Register(buildinfo.New("operator")) // the registry is that of the process, and may have it
	managed.Metrics = metricsserver.Options{BindAddress: o.metricsListen}
	managed.HealthProbeBindAddress = o.healthListen
	managed.LeaderElection = o.leaderElect
	managed.LeaderElectionID = o.leaderElectionID
	managed.LeaderElectionNamespace = o.leaderElectionNS
	managed.LeaderElectionReleaseOnCancel = true
	manager, err := ctrl.NewManager(config, managed)
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	if err := errors.Join(manager.AddHealthzCheck("ping", healthz.Ping), manager.AddReadyzCheck("ping", healthz.Ping)); err != nil {
		return nil, fmt.Errorf("adding health checks: %w", err)
	}
	return manager, nil
}
