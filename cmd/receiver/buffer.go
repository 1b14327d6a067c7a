package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// buffer is what keeps batches and what delivers them.
type buffer struct {
	journal    *journal.Journal
	dispatcher *receiver.Dispatcher
}

// open makes the buffer; nil without one.
func (o *bufferOptions) open(dispatching receiver.DispatcherOptions, registry prometheus.Registerer, logger *slog.Logger) (*buffer, error) {
	if o.kind == "" {
		return nil, nil
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	keeping, err := o.journal(logger)
	if err != nil {
		return nil, err
	}
	keeping.Metrics, keeping.Logger = journal.NewMetrics(registry), logger
	dispatching.DeletedWebhookRetention, dispatching.MaxAge = o.deletedRetention, o.maxAge
	b := &buffer{journal: journal.New(keeping), dispatcher: receiver.NewDispatcher(dispatching)}
	registry.MustRegister(b.dispatcher)
	return b, nil
}

// journal says where batches are kept.
func (o *bufferOptions) journal(logger *slog.Logger) (journal.Options, error) {
	total := o.maxBytes
	if total == 0 {
		var err error
		if total, err = engine.VolumeBytes(o.dir, volumePercent); err != nil {
			return journal.Options{}, fmt.Errorf("--buffer-dir: %w", err)
		}
	}
	limits, err := journal.SplitLimits(total, o.deadLetterBytes)
	if err != nil {
		return journal.Options{}, fmt.Errorf("--buffer-max-bytes, --dead-letter-max-bytes: %w", err)
	}
	options := journal.Options{Limits: limits}
	if _, err := o.tls.Config(); err != nil { // later nobody would be there to read it
		return journal.Options{}, fmt.Errorf("--buffer-tls-cert-file, --buffer-tls-key-file, --buffer-tls-ca-file: %w", err)
	}
	switch o.setting() {
	case bufferEmbedded:
		options.Engine = &engine.Embedded{Dir: o.dir, Reserve: limits.Reserve, Logger: logger}
	case bufferCluster:
		options.Replicas = engine.ClusterMembers
		options.Engine, err = o.cluster(limits, logger)
	default:
		options.Replicas, options.Name, options.KeepLimits = o.replicas, o.name, true
		options.Engine, err = o.external(logger)
	}
	return options, err
}

func (o *bufferOptions) cluster(limits journal.Limits, logger *slog.Logger) (*engine.Cluster, error) {
	password, err := o.password()
	if err != nil {
		return nil, err
	}
	hostname, err := o.hostname()
	if err != nil {
		return nil, fmt.Errorf("asking for the name of this host: %w", err)
	}
	members, err := engine.Members(o.peers, hostname)
	if err != nil {
		return nil, fmt.Errorf("--buffer-peers: %w", err)
	}
	port, err := engine.Port(o.listen)
	if err != nil {
		return nil, fmt.Errorf("--buffer-listen: %w", err)
	}
	return &engine.Cluster{
		Dir: o.dir, Reserve: limits.Reserve, Name: hostname + "-" + strconv.Itoa(port), Listen: o.listen, Peers: members, Password: password, TLS: o.tls, Logger: logger,
	}, nil
}

func (o *bufferOptions) external(logger *slog.Logger) (*engine.External, error) {
	if o.credentialsFile != "" {
		if _, err := os.ReadFile(o.credentialsFile); err != nil {
			return nil, fmt.Errorf("--buffer-credentials-file: %w", err)
		}
	}
	urls, _, err := o.urls()
	return &engine.External{URLs: urls, CredentialsFile: o.credentialsFile, TLS: o.tls, Logger: logger}, err
}

// run keeps the journal until what was begun of it is finished.
func (b *buffer) run(ctx context.Context) error {
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	kept := make(chan error, 1)
	broken, breakOff := context.WithCancel(ctx)
	go func() {
		defer breakOff()
		kept <- b.journal.Run(keeping)
	}()
	err := b.journal.Lead(broken, func(ctx context.Context, work *journal.Consumer) error { return b.dispatcher.Run(ctx, work) })
	stop()
	return errors.Join(err, <-kept)
}
