package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// bufferOptions say where batches are kept until they are delivered.
type bufferOptions struct {
	kind             string // embedded, cluster, or URLs
	dir              string
	maxBytes         int64
	deadLetterBytes  int64
	deletedRetention time.Duration
	maxAge           time.Duration
	// of a cluster
	peers, listen string
	passwordFile  string
	insecure      bool
	// of servers elsewhere
	credentialsFile string
	replicas        int
	name            string
	// of both
	tls engine.TLSFiles

	flags    *flag.FlagSet
	hostname func() (string, error)
}

const (
	bufferEmbedded = "embedded"
	bufferCluster  = "cluster"
	bufferExternal = "nats://…"
	// volumePercent is how much of its volume the buffer may take when nothing else is said.
	volumePercent = 80
	// gcPercent keeps the memory that a backlog takes small. What is read of it is garbage soon.
	gcPercent = 40
	// minPassword keeps a password from being guessed by who can reach the port.
	minPassword = 16
	maxReplicas = 5
)

func (o *bufferOptions) add(flags *flag.FlagSet) {
	o.flags, o.hostname = flags, os.Hostname
	flags.StringVar(&o.kind, "buffer", "", "where batches are kept until they are delivered: embedded, which is on disk in --buffer-dir; cluster, which is there and at two other receivers; or comma-separated URLs of NATS with JetStream, such as nats://nats:4222 or tls://nats:4222; default: nowhere, batches are answered when they are delivered")
	flags.StringVar(&o.dir, "buffer-dir", "", "folder of the buffer")
	flags.Int64Var(&o.maxBytes, "buffer-max-bytes", 0, "bytes that the buffer may take, at least 64 MiB, in a cluster of each member; what finds no room is answered with 503; default with --buffer=embedded: 80 % of what is free on its volume")
	flags.Int64Var(&o.deadLetterBytes, "dead-letter-max-bytes", 0, "bytes of the buffer for events that are given up and have no dead letter sink, of which the oldest go when there are more; default: a tenth of the buffer")
	flags.DurationVar(&o.deletedRetention, "deleted-webhook-retention", receiver.DefaultDeletedWebhookRetention, "how long the events in the buffer of a webhook that is deleted are kept before they are dead letters")
	flags.DurationVar(&o.maxAge, "delivery-max-age", receiver.DefaultMaxAge, "how long an event in the buffer is tried before it is a dead letter, however many retries it has")
	flags.StringVar(&o.peers, "buffer-peers", "", "the three members of the cluster, this one included: comma-separated host:port; or NAME:PORT of the headless Service of a StatefulSet of three")
	flags.StringVar(&o.listen, "buffer-listen", ":6222", "address at which the other members reach this one")
	flags.StringVar(&o.passwordFile, "buffer-password-file", "", "file with a password that all members have, at least 16 characters")
	flags.BoolVar(&o.insecure, "buffer-insecure", false, "let the members speak without TLS over a network that nobody else can listen to")
	flags.IntVar(&o.replicas, "buffer-replicas", 3, "copies of each stream in NATS: 1 when its server is alone")
	o.addConnection(flags)
}

// addConnection adds what says how servers elsewhere are reached.
func (o *bufferOptions) addConnection(flags *flag.FlagSet) {
	flags.StringVar(&o.credentialsFile, "buffer-credentials-file", "", "credentials for NATS, read again for each connection")
	flags.StringVar(&o.name, "buffer-name", journal.DefaultName, "begins the names of streams and subjects in NATS; receivers with the same name share a buffer")
	flags.StringVar(&o.tls.Cert, "buffer-tls-cert-file", "", "certificate of this member, or of this client of NATS, PEM, read again for each connection")
	flags.StringVar(&o.tls.Key, "buffer-tls-key-file", "", "key of the certificate")
	flags.StringVar(&o.tls.CA, "buffer-tls-ca-file", "", "certificates of the authority of the other members, or of NATS, read again when they change; default for NATS: the system's")
}

// settings that a flag is of, where it is not of all.
var settings = map[string][]string{
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

func (o *bufferOptions) setting() string {
	if o.kind == "" || o.kind == bufferEmbedded || o.kind == bufferCluster {
		return o.kind
	}
	return bufferExternal
}

func (o *bufferOptions) check() error {
	if err := o.checkSetting(); err != nil {
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
		return errNoPair
	}
	switch o.setting() {
	case bufferEmbedded:
		if o.dir == "" {
			return errors.New("--buffer=embedded needs --buffer-dir, a folder on a volume that outlives the process")
		}
		return nil
	case bufferCluster:
		return o.checkCluster()
	}
	return o.checkExternal()
}

// checkSetting finds flags that are of another setting.
func (o *bufferOptions) checkSetting() error {
	if o.setting() == bufferExternal {
		if _, _, err := o.urls(); err != nil {
			return err
		}
	}
	var err error
	o.flags.Visit(func(given *flag.Flag) {
		of, ok := settings[given.Name]
		if ok && !slices.Contains(of, o.setting()) && err == nil {
			err = fmt.Errorf("--%s needs --buffer=%s", given.Name, strings.Join(of, " or --buffer="))
		}
	})
	return err
}

func (o *bufferOptions) checkCluster() error {
	hostname, err := o.hostname()
	if err != nil {
		return fmt.Errorf("asking for the name of this host: %w", err)
	}
	switch {
	case o.dir == "":
		return errors.New("--buffer=cluster needs --buffer-dir, a folder on a volume that outlives the process and is this member's alone")
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
	whole := o.tls.Cert != "" && o.tls.CA != ""
	switch {
	case !whole && !o.tls.Empty():
		return errors.New("give all of --buffer-tls-cert-file, --buffer-tls-key-file and --buffer-tls-ca-file, or none")
	case whole && o.insecure:
		return errors.New("--buffer-insecure is without TLS: leave it or the files away")
	case !whole && !o.insecure && !engine.Loopback(members):
		return errors.New("--buffer=cluster needs --buffer-tls-cert-file, --buffer-tls-key-file and --buffer-tls-ca-file, or --buffer-insecure")
	}
	return nil
}

var errNoPair = errors.New("give both --buffer-tls-cert-file and --buffer-tls-key-file, or neither")

var nameOfBuffer = regexp.MustCompile("^[a-zA-Z0-9_-]+$")

func (o *bufferOptions) checkExternal() error {
	switch {
	case o.maxBytes == 0:
		return errors.New("--buffer=nats://… needs --buffer-max-bytes, which the account must have for each replica")
	case o.replicas < 1 || o.replicas > maxReplicas:
		return fmt.Errorf("--buffer-replicas must be from 1 to %d", maxReplicas)
	}
	return o.checkConnection()
}

// checkConnection is about how servers elsewhere are reached.
func (o *bufferOptions) checkConnection() error {
	_, userinfo, err := o.urls()
	switch {
	case err != nil:
		return err
	case (o.tls.Cert == "") != (o.tls.Key == ""):
		return errNoPair
	case !nameOfBuffer.MatchString(o.name):
		return errors.New("--buffer-name must be made of letters, digits, - and _")
	case userinfo && o.credentialsFile != "":
		return errors.New("give --buffer-credentials-file or userinfo in the URLs of --buffer, not both")
	}
	return nil
}

// urls takes them apart. Errors do not show them, because of what they may hold.
func (o *bufferOptions) urls() (urls []string, userinfo bool, err error) {
	for text := range strings.SplitSeq(o.kind, ",") {
		parsed, err := url.Parse(strings.TrimSpace(text))
		if err != nil || parsed.Scheme != "nats" && parsed.Scheme != "tls" {
			return nil, false, errors.New("--buffer must be embedded, cluster or URLs such as nats://nats:4222 or tls://nats:4222, or left out")
		}
		if parsed.Hostname() == "" || strings.Trim(parsed.Path, "/") != "" || parsed.RawQuery != "" || parsed.Fragment != "" {
			return nil, false, errors.New("a URL of --buffer must have a host, and neither path, query nor fragment")
		}
		userinfo = userinfo || parsed.User != nil
		urls = append(urls, parsed.String())
	}
	return urls, userinfo, nil
}

// password reads what all members know.
func (o *bufferOptions) password() (string, error) {
	data, err := os.ReadFile(o.passwordFile)
	if err != nil {
		return "", fmt.Errorf("--buffer-password-file: %w", err)
	}
	if data = bytes.TrimSpace(data); len(data) < minPassword {
		return "", fmt.Errorf("--buffer-password-file: the password must have at least %d characters", minPassword)
	}
	return string(data), nil
}
