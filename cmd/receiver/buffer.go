package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/receiver/dispatch"
	"github.com/mandrill-operator/mandrill-operator/receiver/erase"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// buffer is the journal that stores batches, the dispatcher that delivers them, and the eraser that erases some on request.
type buffer struct {
	journal    *journal.Journal
	dispatcher *dispatch.Dispatcher
	eraser     *erase.Runner
	metrics    *journal.Metrics
}

// open returns the buffer, or nil without --buffer.
func (o *bufferOptions) open(options dispatch.Options, registry prometheus.Registerer, logger *slog.Logger) (*buffer, error) {
	if o.kind == "" {
		return nil, nil
	}
	if o.dir != "" {
		if err := checkBufferDir(o.dir); err != nil {
			return nil, err
		}
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	stored, err := o.journal(logger)
	if err != nil {
		return nil, err
	}
	if state := options.State; state != nil {
		stored.LostDamaged = func(webhook string) { state.Webhook(webhook).Lost(1) }
	}
	stored.Metrics, stored.Logger, stored.DeadLetterMaxAge = journal.NewMetrics(registry), logger, o.deadLetterAge
	options.DeletedWebhookRetention, options.MaxAge = o.deletedRetention, o.maxAge
	b := &buffer{metrics: stored.Metrics, journal: journal.New(stored), dispatcher: dispatch.New(options), eraser: &erase.Runner{Interval: erase.DefaultInterval, Logger: logger}}
	registry.MustRegister(b.dispatcher)
	return b, nil
}

// journal returns the options of the journal.
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
	if _, err := o.tls.Config(); err != nil { // report it at startup, not at the first connection
		return journal.Options{}, fmt.Errorf("--buffer-tls-cert-file, --buffer-tls-key-file, --buffer-tls-ca-file: %w", err)
	}
	switch o.mode() {
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
		return nil, fmt.Errorf("reading the name of this host: %w", err)
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

// run delivers until ctx ends or the journal fails. The journal runs until deliveries in progress have ended.
func (b *buffer) run(ctx context.Context) error {
	journalCtx, stopJournal := context.WithCancel(context.WithoutCancel(ctx))
	journalEnded := make(chan error, 1)
	leading, stopLeading := context.WithCancel(ctx)
	go func() {
		defer stopLeading()
		journalEnded <- b.journal.Run(journalCtx)
	}()
	err := b.journal.Lead(leading, func(ctx context.Context, consumer *journal.Consumer) error {
		return b.eraser.Run(ctx, consumer, func(ctx context.Context) error { return b.dispatcher.Run(ctx, consumer) })
	})
	stopJournal()
	return errors.Join(err, <-journalEnded)
}

// admin is what the admin socket serves of the buffer, nil without one.
func (b *buffer) admin() adminBuffer {
	if b == nil {
		return nil
	}
	return b.journal
}

// note says how many messages of the buffer are gone, for /readyz. It is no reason to be not ready: batches can be stored.
func (b *buffer) note() string {
	if b == nil {
		return ""
	}
	var parts []string
	for stream, count := range b.journal.Lost() {
		parts = append(parts, fmt.Sprintf("%d of %s", count, stream))
	}
	if len(parts) == 0 {
		return ""
	}
	slices.Sort(parts)
	return "ready; messages of the buffer are gone: " + strings.Join(parts, ", ")
}
