package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// bufferOptions say where batches are kept until they are delivered.
type bufferOptions struct {
	kind            string
	dir             string
	maxBytes        int64
	deadLetterBytes int64
	orphanRetention time.Duration
	maxAge          time.Duration
}

const (
	bufferEmbedded = "embedded"
	// volumePercent is how much of its volume the buffer may take when nothing else is said.
	volumePercent = 80
	// gcPercent keeps the memory that a backlog takes small. What is read of it is garbage soon.
	gcPercent = 40
)

func (o *bufferOptions) add(flags *flag.FlagSet) {
	flags.StringVar(&o.kind, "buffer", "", "where batches are kept until they are delivered: embedded, which is on disk in --buffer-dir; default: nowhere, batches are answered when they are delivered")
	flags.StringVar(&o.dir, "buffer-dir", "", "folder of the buffer")
	flags.Int64Var(&o.maxBytes, "buffer-max-bytes", 0, "bytes that the buffer may take, at least 64 MiB; what finds no room is answered with 503; default: 80 % of what is free on its volume")
	flags.Int64Var(&o.deadLetterBytes, "dead-letter-max-bytes", 0, "bytes of the buffer for events that are given up and have no dead letter sink, of which the oldest go when there are more; default: a tenth of the buffer")
	flags.DurationVar(&o.orphanRetention, "orphan-retention", receiver.DefaultOrphanRetention, "how long the events in the buffer of a webhook that is deleted are kept before they are dead letters")
	flags.DurationVar(&o.maxAge, "delivery-max-age", receiver.DefaultMaxAge, "how long an event in the buffer is tried before it is a dead letter, however many retries it has")
}

func (o *bufferOptions) check() error {
	switch {
	case o.kind == "" && o.dir != "":
		return errors.New("--buffer-dir needs --buffer=embedded")
	case o.kind == "":
		return nil
	case o.kind != bufferEmbedded:
		return errors.New("--buffer must be embedded, or left out")
	case o.dir == "":
		return errors.New("--buffer=embedded needs --buffer-dir, a folder on a volume that outlives the process")
	case o.maxBytes != 0 && o.maxBytes < journal.MinBytes:
		return fmt.Errorf("--buffer-max-bytes must be at least %d", journal.MinBytes)
	case o.orphanRetention <= 0 || o.maxAge <= 0:
		return errors.New("--orphan-retention and --delivery-max-age must be positive")
	}
	return nil
}

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
	total := o.maxBytes
	if total == 0 {
		var err error
		if total, err = journal.VolumeBytes(o.dir, volumePercent); err != nil {
			return nil, fmt.Errorf("--buffer-dir: %w", err)
		}
	}
	limits, err := journal.Divide(total, o.deadLetterBytes)
	if err != nil {
		return nil, fmt.Errorf("--buffer-max-bytes, --dead-letter-max-bytes: %w", err)
	}
	dispatching.OrphanRetention, dispatching.MaxAge = o.orphanRetention, o.maxAge
	b := &buffer{
		journal: journal.New(journal.Options{
			Engine: &journal.Embedded{Dir: o.dir, Limits: limits, Logger: logger}, Limits: limits,
			Metrics: journal.NewMetrics(registry), Logger: logger,
		}),
		dispatcher: receiver.NewDispatcher(dispatching),
	}
	registry.MustRegister(b.dispatcher)
	return b, nil
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
	err := b.journal.Work(broken, func(ctx context.Context, work *journal.Work) error { return b.dispatcher.Run(ctx, work) })
	stop()
	return errors.Join(err, <-kept)
}
