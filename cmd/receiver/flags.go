package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/pasted"
	"github.com/mandrill-operator/mandrill-operator/cmd/usage"
	"github.com/mandrill-operator/mandrill-operator/quantity"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// options are the flags of the receiver.
type options struct {
	config, routesSecret  string
	environment           *environment // nil: routes do not come from variables
	kubeconfig            string
	operatorURL           string
	reportTokenFile       string
	name, instance        string // of this receiver, in reports
	sinkHosts             string
	certFile, keyFile     string
	healthPath            string
	shutdownDelay         time.Duration
	tokens                map[string]string // files by audience
	listen, metricsListen string
	pprofListen           string
	page                  pageOptions
	maxInflightBytes      int64
	maxBodyBytes          int64
	sinkConcurrency       int
	buffer                bufferOptions
	adminPath             string
	drain                 bool
	admin                 *adminSocket // nil: none
	notifySocket          string       // of systemd; empty: none
	logLevel              slog.Level
	version               bool // print it and exit
}

// defaultShutdownDelay is longer than most load balancers, and the proxies of Services, take to notice that a receiver stops.
const defaultShutdownDelay = 10 * time.Second

func parseFlags(args []string, getenv func(string) string) (options, error) {
	var o options
	flags := flag.NewFlagSet("receiver", flag.ContinueOnError)
	o.add(flags)
	o.instance, o.notifySocket = newInstance(), getenv("NOTIFY_SOCKET")
	if o.name = getenv("POD_NAME"); o.name == "" {
		o.name, _ = os.Hostname() // without a name the instance must do
	}
	usage.Help(flags, "The receiver verifies Mandrill's batches and delivers their events as CloudEvents.", subcommands,
		usage.Group{Title: "Buffer", Prefixes: []string{"buffer", "dead-letter", "delivery-max-age", "deleted-webhook", "drain", "admin-socket"}},
		usage.Group{Title: "Sinks", Prefixes: []string{"allow-sink", "sink-", "oidc-"}},
		usage.Group{Title: "Operation", Prefixes: []string{"metrics", "pprof", "health", "log-", "operator-", "report-", "shutdown", "version", "kubeconfig"}})
	if err := usage.Parse(flags, args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, usage.Unexpected(flags.Arg(0), subcommands)
	}
	if o.version {
		return o, nil
	}
	return o, o.complete(getenv)
}

// complete checks the flags, and what follows from them.
func (o *options) complete(getenv func(string) string) (err error) {
	if err := o.chooseRoutes(getenv); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	if err := o.buffer.check(); err != nil {
		return err
	}
	o.admin, err = newAdminSocket(o.adminPath, o.buffer)
	return err
}

func (o *options) add(flags *flag.FlagSet) {
	flags.StringVar(&o.config, "config", "", "file with the routes document, reloaded when it changes")
	flags.StringVar(&o.routesSecret, "routes-secret", "", "NAMESPACE/NAME of the first Secret with the routes that the operator writes")
	flags.StringVar(&o.listen, "listen", ":8080", "address of the webhook endpoints")
	flags.StringVar(&o.certFile, "tls-cert-file", "", "server certificate, PEM, reloaded when it is renewed; default: no TLS")
	flags.StringVar(&o.keyFile, "tls-key-file", "", "key of the certificate")
	flags.DurationVar(&o.shutdownDelay, "shutdown-delay", defaultShutdownDelay,
		"how long to keep serving after SIGTERM while /readyz reports not ready, so that load balancers stop sending first")
	flags.StringVar(&o.healthPath, "health-path", "/healthz",
		"path at --listen that tells load balancers whether the receiver is ready, such as / for those that probe it by default; "+
			"a webhook with the same path goes first; empty: none")
	flags.StringVar(&o.metricsListen, "metrics-listen", ":9090", "address of /metrics, /healthz and /readyz")
	flags.StringVar(&o.pprofListen, "pprof-listen", "",
		"address of /debug/pprof/, such as :6060; without a host only this machine can reach it; default: off")
	o.page.add(flags)
	flags.StringVar(&o.operatorURL, "operator-url", "",
		"URL of the operator to report the state of delivery to, such as http://mandrill-operator.mandrill-operator-system:8082; default: no reports")
	flags.StringVar(&o.reportTokenFile, "report-token-file", defaultTokenFile,
		"file with the token that shows the operator who reports, read for each report; without the file there is none")
	o.tokens = map[string]string{}
	flags.Func("oidc-token",
		"AUDIENCE=FILE with the OIDC token for sinks with this audience, reloaded when it is renewed; may be repeated", o.addToken)
	flags.StringVar(&o.sinkHosts, "allow-sink-hosts", "",
		"comma-separated hosts that may be sinks although they resolve to a loopback or link-local address or a metadata "+
			"service; without --routes-secret all hosts may")
	flags.IntVar(&o.sinkConcurrency, "sink-concurrency", sink.DefaultConcurrency,
		"maximum of concurrent requests of one webhook to its sink; fewer while the sink is overloaded")
	flags.Var(quantity.Value(&o.maxBodyBytes, receiver.DefaultMaxBodyBytes), "max-body-bytes",
		"maximum size of a request body; inbound mail with attachments is large")
	flags.Var(quantity.Value(&o.maxInflightBytes, receiver.DefaultMaxInflightBytes), "max-inflight-bytes",
		"memory for the bodies of all requests; a request that gets none within 5 s is answered with 503")
	o.buffer.add(flags)
	flags.StringVar(&o.adminPath, "admin-socket", "",
		"path of the Unix socket for receiver dead-letters; default: "+adminSocketName+" in --buffer-dir, or none without it")
	flags.BoolVar(&o.drain, "drain", false,
		"accept no requests, deliver what is in --buffer-dir, and exit when nothing is left there, dead letters included")
	flags.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; default: $KUBECONFIG, or the pod's service account")
	flags.BoolVar(&o.version, "version", false, "print the version, the commit, the version of Go and the platform, and exit")
}

func (o *options) check() error {
	switch {
	case (o.certFile == "") != (o.keyFile == ""):
		return errors.New("give both --tls-cert-file and --tls-key-file, or neither")
	case o.healthPath != "" && (!strings.HasPrefix(o.healthPath, "/") || strings.ContainsAny(o.healthPath, "?#% ")):
		return errors.New("--health-path must begin with a slash, and have neither query, escapes nor spaces")
	case o.shutdownDelay < 0:
		return errors.New("--shutdown-delay must not be negative")
	case o.maxBodyBytes <= 0:
		return errors.New("--max-body-bytes must be positive")
	case o.maxInflightBytes < 2*o.maxBodyBytes:
		return errors.New("--max-inflight-bytes must be at least twice --max-body-bytes, because a body is copied while its buffer grows")
	case o.drain && o.buffer.kind != bufferEmbedded:
		return errors.New("--drain needs --buffer=embedded: other buffers are shared, and other receivers deliver what is in them")
	case o.sinkConcurrency <= 0:
		return errors.New("--sink-concurrency must be positive")
	case o.routesSecret == "" && o.kubeconfig != "":
		return errors.New("--kubeconfig needs --routes-secret, because nothing else is read from the cluster")
	case o.routesSecret == "" && o.sinkHosts != "":
		return errors.New("--allow-sink-hosts needs --routes-secret; without it all hosts are allowed")
	case o.environment != nil && o.operatorURL != "":
		return errors.New("--operator-url needs --routes-secret or --config, because the operator does not know the route of the environment")
	}
	if err := checkHosts(o.allowedHosts()); err != nil {
		return err
	}
	if o.operatorURL != "" {
		if err := checkOperatorURL(o.operatorURL); err != nil {
			return err
		}
	}
	return o.page.check()
}

// allowedHosts returns the hosts of --allow-sink-hosts in lower case.
func (o *options) allowedHosts() []string {
	return strings.FieldsFunc(strings.ToLower(o.sinkHosts), func(c rune) bool { return c == ',' || c == ' ' })
}

// checkHosts refuses what can never be the host of a sink's URI, such as a URL or a host with a port.
func checkHosts(hosts []string) error {
	for _, host := range hosts {
		ip, err := netip.ParseAddr(host)
		isName := pasted.KeyFault(host) == "" && !strings.ContainsAny(host, "/:@?#[]*")
		if !isName && (err != nil || !ip.IsValid()) {
			return errors.New("--allow-sink-hosts must be hosts without scheme, port, path and quotation marks, such as localhost,10.0.0.1")
		}
	}
	return nil
}

func checkOperatorURL(text string) error {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Hostname() == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return errors.New("--operator-url must be an absolute http or https URL")
	}
	if strings.ContainsAny(text, "?#") {
		return errors.New("--operator-url must have neither query nor fragment")
	}
	return nil
}

// addToken parses AUDIENCE=FILE.
func (o *options) addToken(text string) error {
	audience, path, ok := strings.Cut(text, "=")
	if !ok || audience == "" || path == "" {
		return errors.New("it is not of the form AUDIENCE=FILE")
	}
	if _, repeated := o.tokens[audience]; repeated {
		return errors.New("the audience has a file already")
	}
	data, err := os.ReadFile(path) //nolint:gosec // the user's file
	if err != nil {
		return fmt.Errorf("reading the token: %w", err)
	}
	if fault := pasted.KeyFault(pasted.Trim(string(data))); fault != "" {
		return errors.New("the token has " + fault)
	}
	if fault := pasted.Fault(audience); fault != "" {
		return errors.New("the audience has " + fault)
	}
	o.tokens[audience] = path
	return nil
}
