package journal

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/deleted"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/gc"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/lease"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// Lead runs do whenever this process holds the lease, until ctx ends. When ctx ends, the context of do ends, and do may finish its
// work under [Consumer.LeaseContext]. When the lease is lost or the buffer fails, both contexts end at once (see "When the lease is
// lost" in the package comment). Only one process holds the lease, which keeps the order of events. A buffer that nobody else uses
// needs no lease. Lead must not be called twice at a time.
func (j *Journal) Lead(ctx context.Context, do func(context.Context, *Consumer) error) error {
	retry := store.NewBackoff(j.now)
	for j.WaitAvailable(ctx) == nil {
		retry.Begin()
		if err := j.lead(ctx, do); err != nil && ctx.Err() == nil {
			j.logger.Error("Delivery from the buffer was interrupted and starts again", "error", err.Error())
		}
		if retry.Wait(ctx) != nil {
			break
		}
	}
	return nil //nolint:nilerr // it was told to end
}

// lead runs do once.
func (j *Journal) lead(ctx context.Context, do func(context.Context, *Consumer) error) error {
	s := j.current.Load()
	if s == nil {
		return nil
	}
	leaseCtx, lose := context.WithCancel(context.WithoutCancel(ctx)) // after a planned stop, work in flight finishes
	defer lose()
	defer context.AfterFunc(s.lifetime, lose)() //nolint:contextcheck // the lease ends with either
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(leaseCtx, cancel)()
	if !s.store.Exclusive {
		election := lease.Election{State: s.state.KeyValue, Time: j.leaseTime, Timeout: s.store.Timeout}
		held, err := election.Acquire(ctx, j.holder)
		if err != nil {
			return err
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			held.Keep(leaseCtx)
			lose()
		}()
		defer func() { lose(); <-ended; held.Release() }() //nolint:contextcheck // the lease is released although the context has ended
		j.logger.Info("This receiver became the leader and delivers what is in the buffer")
	}
	j.metrics.Leader.Set(1)
	defer j.metrics.Leader.Set(0)
	consumer := j.newConsumer(s, leaseCtx)
	consumer.record = j.newRecord(s, leaseCtx)
	defer consumer.record.Close()
	go s.collector(j.logger).Run(ctx, j.gcInterval)
	go consumer.runAging(ctx)
	err := do(ctx, consumer)
	if err != nil && leaseCtx.Err() == nil {
		j.fail(s) // the buffer may be the cause
	}
	return err
}

func (j *Journal) newConsumer(s *session, leaseCtx context.Context) *Consumer { //nolint:revive // it is not the context of this call
	return &Consumer{session: s, journal: j, lease: leaseCtx, incomplete: map[Position][]uint64{}, held: map[Position]bool{}, remove: s.store.Delete, removeObject: s.objects.Remove}
}

// collector removes objects to which no message refers. References move from batches to remainders, and to dead letters.
func (s *session) collector(logger *slog.Logger) *gc.Collector {
	return &gc.Collector{
		Store: s.store, Objects: s.objects, Streams: []jetstream.Stream{s.batches, s.remainders, s.dead}, Header: headerObject, Logger: logger,
	}
}

// gcAtStart removes what an earlier process has left when it takes up much of the space, before anybody stores an object. In a
// shared buffer others may be storing one.
func (j *Journal) gcAtStart(ctx context.Context, s *session) {
	if !s.store.Exclusive {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, gcAtStartTimeout)
	defer cancel()
	s.collector(j.logger).AtStart(bounded, j.layout.Limits.Objects/2)
}

func (s *session) deletedWebhooks(logger *slog.Logger) *deleted.Webhooks {
	return &deleted.Webhooks{Store: s.store, State: s.state, Logger: logger}
}

// DeletedWebhooks returns the webhooks that were deleted while the buffer has events of them, and since when.
func (c *Consumer) DeletedWebhooks(ctx context.Context) (map[string]time.Time, error) {
	return c.session.deletedWebhooks(c.journal.logger).List(ctx)
}

// MarkDeleted remembers since when a webhook is deleted, or with a zero time that it is not.
func (c *Consumer) MarkDeleted(ctx context.Context, webhook string, since time.Time) error {
	return c.session.deletedWebhooks(c.journal.logger).Mark(ctx, webhook, since)
}
