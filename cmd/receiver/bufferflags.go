package main

import (
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/pasted"
	"github.com/mandrill-operator/mandrill-operator/quantity"
	"github.com/mandrill-operator/mandrill-operator/receiver/dispatch"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// bufferOptions are the flags of the buffer.
type bufferOptions struct {
	kind             string // embedded, cluster, or URLs
	dir              string
	maxBytes         int64
	deadLetterBytes  int64
	deletedRetention time.Duration
	maxAge           time.Duration
	// cluster only
	peers, listen string
	passwordFile  string
	insecure      bool
	// NATS only
	credentialsFile string
	replicas        int
	name            string
	// cluster and NATS
	tls engine.TLSFiles

	flags    *flag.FlagSet
	hostname func() (string, error)
}

const (
	bufferEmbedded = "embedded"
	bufferCluster  = "cluster"
	bufferExternal = "nats://…"
	// volumePercent is the part of the free space of its volume that an embedded buffer takes by default.
	volumePercent = 80
	// gcPercent keeps the heap small while a backlog is delivered: most of what is read is garbage soon.
	gcPercent = 40
	// minPassword keeps anyone who can reach the port from guessing the password.
	minPassword = 16
	maxReplicas = 5
)

func (o *bufferOptions) add(flags *flag.FlagSet) {
	o.flags, o.hostname = flags, os.Hostname
	flags.StringVar(&o.kind, "buffer", "",
		"where batches are stored until they are delivered: embedded, on disk in --buffer-dir; cluster, on disk and at two other "+
			"receivers; or comma-separated URLs of NATS with JetStream, such as nats://nats:4222 or tls://nats:4222; default: no "+
			"buffer; a batch is answered once it is delivered")
	flags.StringVar(&o.dir, "buffer-dir", "", "directory of the buffer")
	flags.Var(quantity.Value(&o.maxBytes, 0), "buffer-max-bytes",
		"maximum size of the buffer, such as 20Gi, at least 64 MiB, in a cluster for each member; a batch that does not fit is "+
			"answered with 503; default with --buffer=embedded: 80 % of the free space of its volume")
	flags.Var(quantity.Value(&o.deadLetterBytes, 0), "dead-letter-max-bytes",
		"bytes of the buffer for dead letters; when they are used up the oldest dead letters are removed; default: a tenth of "+
			"the buffer")
	flags.DurationVar(&o.deletedRetention, "deleted-webhook-retention", dispatch.DefaultDeletedWebhookRetention,
		"how long the buffer keeps the events of a deleted webhook before they become dead letters")
	flags.DurationVar(&o.maxAge, "delivery-max-age", dispatch.DefaultMaxAge,
		"age at which a failing event in the buffer becomes a dead letter, even if it has retries left")
	flags.StringVar(&o.peers, "buffer-peers", "",
		"the three members of the cluster, including this one: comma-separated host:port, or NAME:PORT of the headless Service "+
			"of a StatefulSet with three replicas")
	flags.StringVar(&o.listen, "buffer-listen", ":6222", "address for the other members of the cluster")
	flags.StringVar(&o.passwordFile, "buffer-password-file", "", "file with the password that all members share, at least 16 characters")
	flags.BoolVar(&o.insecure, "buffer-insecure", false, "connect the members without TLS; only for a network that no one else can listen to")
	flags.IntVar(&o.replicas, "buffer-replicas", 3, "replicas of each stream in NATS; 1 for a single server")
	o.addConnection(flags)
}

// addConnection adds the flags for the connection to NATS.
func (o *bufferOptions) addConnection(flags *flag.FlagSet) {
	flags.StringVar(&o.credentialsFile, "buffer-credentials-file", "", "credentials file for NATS, read again for each connection")
	flags.StringVar(&o.name, "buffer-name", journal.DefaultName,
		"prefix of streams and subjects in NATS; receivers with the same name share a buffer")
	flags.StringVar(&o.tls.Cert, "buffer-tls-cert-file", "",
		"certificate of this member, or client certificate for NATS, PEM, read again for each connection")
	flags.StringVar(&o.tls.Key, "buffer-tls-key-file", "", "key of the certificate")
	flags.StringVar(&o.tls.CA, "buffer-tls-ca-file", "",
		"CA certificates for the other members, or for NATS, reloaded when they change; default for NATS: the system's")
}

// flagModes are the values of --buffer with which a flag may be used.
var flagModes = map[string][]string{
	"buffer-dir":                {bufferEmbedded, bufferCluster},
	"buffer-peers":              {bufferCluster},
	"buffer-listen":             {bufferCluster},
	"buffer-password-file":      {bufferCluster},
	"buffer-insecure":           {bufferCluster},
	"buffer-credentials-file":   {bufferExternal},
	"buffer-replicas":           {bufferExternal},
	"buffer-name":               {bufferExternal},
	"buffer-tls-cert-file":      {bufferCluster, bufferExternal},
	"buffer-tls-key-file":       {bufferCluster, bufferExternal},
	"buffer-tls-ca-file":        {bufferCluster, bufferExternal},
	"buffer-max-bytes":          {bufferEmbedded, bufferCluster, bufferExternal},
	"dead-letter-max-bytes":     {bufferEmbedded, bufferCluster, bufferExternal},
	"deleted-webhook-retention": {bufferEmbedded, bufferCluster, bufferExternal},
	"delivery-max-age":          {bufferEmbedded, bufferCluster, bufferExternal},
}

// mode returns the value of --buffer, with bufferExternal for all URLs.
func (o *bufferOptions) mode() string {
	if o.kind == "" || o.kind == bufferEmbedded || o.kind == bufferCluster {
		return o.kind
	}
	return bufferExternal
}

func (o *bufferOptions) check() error {
	if err := o.checkMode(); err != nil {
		return err
	}
	switch {
	case o.kind == "":
		return nil
	case o.maxBytes != 0 && o.maxBytes < journal.MinBytes:
		return fmt.Errorf("--buffer-max-bytes must be at least %d", journal.MinBytes)
	case o.deletedRetention <= 0 || o.maxAge <= 0:
		return errors.New("--deleted-webhook-retention and --delivery-max-age must be positive")
	case (o.tls.Cert == "") != (o.tls.Key == ""):
		return errCertWithoutKey
	}
	switch o.mode() {
	case bufferEmbedded:
		if o.dir == "" {
			return errors.New("--buffer=embedded needs --buffer-dir, a directory on a persistent volume")
		}
		return nil
	case bufferCluster:
		return o.checkCluster()
	}
	return o.checkExternal()
}

// checkMode returns an error for a flag that does not go with the value of --buffer.
func (o *bufferOptions) checkMode() error {
	if o.mode() == bufferExternal {
		if _, _, err := o.urls(); err != nil {
			return err
		}
	}
	var err error
	o.flags.Visit(func(given *flag.Flag) {
		modes, ok := flagModes[given.Name]
		if ok && !slices.Contains(modes, o.mode()) && err == nil {
			err = fmt.Errorf("--%s needs --buffer=%s", given.Name, strings.Join(modes, " or --buffer="))
		}
	})
	return err
}

func (o *bufferOptions) checkCluster() error {
	hostname, err := o.hostname()
	if err != nil {
		return fmt.Errorf("reading the name of this host: %w", err)
	}
	switch {
	case o.dir == "":
		return errors.New("--buffer=cluster needs --buffer-dir, a directory on a persistent volume that no other member uses")
	case o.peers == "":
		return errors.New("--buffer=cluster needs --buffer-peers")
	case o.maxBytes == 0:
		return errors.New("--buffer=cluster needs --buffer-max-bytes, the same for all members")
	case o.passwordFile == "":
		return errors.New("--buffer=cluster needs --buffer-password-file")
	}
	members, err := engine.Members(o.peers, hostname)
	if err != nil {
		return fmt.Errorf("--buffer-peers: %w", err)
	}
	if _, err := engine.Port(o.listen); err != nil {
		return fmt.Errorf("--buffer-listen: %w", err)
	}
	complete := o.tls.Cert != "" && o.tls.CA != ""
	switch {
	case !complete && !o.tls.Empty():
		return errors.New("give all of --buffer-tls-cert-file, --buffer-tls-key-file and --buffer-tls-ca-file, or none")
	case complete && o.insecure:
		return errors.New("--buffer-insecure turns TLS off: remove it, or the --buffer-tls files")
	case !complete && !o.insecure && !engine.Loopback(members):
		return errors.New("--buffer=cluster needs --buffer-tls-cert-file, --buffer-tls-key-file and --buffer-tls-ca-file, or --buffer-insecure")
	}
	return nil
}

var errCertWithoutKey = errors.New("give both --buffer-tls-cert-file and --buffer-tls-key-file, or neither")

var validName = regexp.MustCompile("^[a-zA-Z0-9_-]+$")

func (o *bufferOptions) checkExternal() error {
	switch {
	case o.maxBytes == 0:
		return errors.New("--buffer=nats://… needs --buffer-max-bytes, which the account must have free for each replica")
	case o.replicas < 1 || o.replicas > maxReplicas:
		return fmt.Errorf("--buffer-replicas must be from 1 to %d", maxReplicas)
	}
	return o.checkConnection()
}

// checkConnection checks the flags for the connection to NATS.
func (o *bufferOptions) checkConnection() error {
	_, userinfo, err := o.urls()
	switch {
	case err != nil:
		return err
	case (o.tls.Cert == "") != (o.tls.Key == ""):
		return errCertWithoutKey
	case !validName.MatchString(o.name):
		return errors.New("--buffer-name must be made of letters, digits, - and _")
	case userinfo && o.credentialsFile != "":
		return errors.New("give --buffer-credentials-file or userinfo in the URLs of --buffer, not both")
	}
	return nil
}

// urls parses the URLs of --buffer. Errors do not contain them, because they may hold a password.
func (o *bufferOptions) urls() (urls []string, userinfo bool, err error) {
	for text := range strings.SplitSeq(o.kind, ",") {
		parsed, err := url.Parse(strings.TrimSpace(text))
		if err != nil || parsed.Scheme != "nats" && parsed.Scheme != "tls" {
			return nil, false, errors.New("--buffer must be embedded, cluster or URLs such as nats://nats:4222 or tls://nats:4222, or omitted")
		}
		if parsed.Hostname() == "" || strings.Trim(parsed.Path, "/") != "" || parsed.RawQuery != "" || parsed.Fragment != "" {
			return nil, false, errors.New("a URL of --buffer must have a host, and neither path, query nor fragment")
		}
		userinfo = userinfo || parsed.User != nil
		urls = append(urls, parsed.String())
	}
	return urls, userinfo, nil
}

// password reads the password of the cluster.
func (o *bufferOptions) password() (string, error) {
	data, err := os.ReadFile(o.passwordFile)
	if err != nil {
		return "", fmt.Errorf("--buffer-password-file: %w", err)
	}
	password := pasted.Trim(string(data))
	if fault := pasted.Fault(password); fault != "" {
		return "", fmt.Errorf("--buffer-password-file: the password has %s", fault)
	}
	if len(password) < minPassword {
		return "", fmt.Errorf("--buffer-password-file: the password must have at least %d characters", minPassword)
	}
	return password, nil
}
