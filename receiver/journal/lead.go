package journal

import (
	"context"
	"log/slog"
	"maps"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/deleted"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/gc"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/partition"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// Lead runs do while this process delivers, until ctx ends: for an exclusive buffer once, for a shared one once for each partition that this
// process holds, at the same time. When ctx ends or the partition is to move, the context of do ends, and do may finish its work
// under [Consumer.LeaseContext]. When the lease is lost or the buffer fails, both contexts end at once (see "When the lease is lost" in
// the package comment). Only one process holds a partition, which keeps the order of events. Lead must not be called twice at a time.
func (j *Journal) Lead(ctx context.Context, do func(context.Context, *Consumer) error) error {
	retry := store.NewBackoff(j.now)
	for j.WaitAvailable(ctx) == nil {
		retry.Begin()
		if s := j.current.Load(); s != nil {
			lead := j.leadShared
			if s.store.Exclusive {
				lead = j.leadExclusive
			}
			lead(ctx, s, do)
		}
		if retry.Wait(ctx) != nil {
			break
		}
	}
	return nil //nolint:nilerr // it was told to end
}

// leadExclusive runs do once.
func (j *Journal) leadExclusive(ctx context.Context, s *session, do func(context.Context, *Consumer) error) {
	leaseCtx, lose := context.WithCancel(context.WithoutCancel(ctx)) // after a planned stop, work in flight finishes
	defer lose()
	defer context.AfterFunc(s.lifetime, lose)() //nolint:contextcheck // the lease ends with either
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(leaseCtx, cancel)()
	j.metrics.Partitions.Set(partition.Count)
	defer j.metrics.Partitions.Set(0)
	j.deliver(ctx, leaseCtx, s, partition.Whole, do)
}

// leadShared runs do for the partitions that this process holds, until its lease ends.
func (j *Journal) leadShared(ctx context.Context, s *session, do func(context.Context, *Consumer) error) {
	var err error
	if j.member != "" { // nothing is delivered under that name any more
		err = partition.End(ctx, s.state, j.member)
	}
	if err == nil {
		j.member = nuid.Next()
		err = partition.Run(ctx, s.lifetime, partition.Options{
			ID: j.member, Count: j.partitions, Store: s.store, State: s.state, Time: j.leaseTime, Logger: j.logger,
			Deliver:    func(ctx, leaseCtx context.Context, number int) { j.deliver(ctx, leaseCtx, s, number, do) },
			Delivering: func(partitions int) { j.metrics.Partitions.Set(float64(partitions)) },
			Before:     s.setBefore,
		})
	}
	if err != nil && ctx.Err() == nil {
		j.logger.Warn("Could not join the receivers that deliver, this is tried again", "error", err.Error())
	}
}

// deliver runs do for a partition, or for all of the buffer. The first partition also does what is to be done for the whole buffer.
func (j *Journal) deliver(ctx, leaseCtx context.Context, s *session, number int, do func(context.Context, *Consumer) error) {
	consumer := j.newConsumer(s, leaseCtx, number)
	consumer.record = j.newRecord(s, leaseCtx, number)
	defer consumer.record.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if number <= 0 {
		go s.collector(j.logger).Run(ctx, j.gcInterval)
		go consumer.runAging(ctx)
	}
	err := do(ctx, consumer)
	if err != nil && ctx.Err() == nil {
		logger := j.logger
		if number != partition.Whole {
			logger = logger.With("partition", number)
		}
		logger.Error("Delivery from the buffer was interrupted and starts again", "error", err.Error())
	}
	if err != nil && leaseCtx.Err() == nil {
		j.fail(s) // the buffer may be the cause
	}
}

func (j *Journal) newConsumer(s *session, leaseCtx context.Context, number int) *Consumer { //nolint:revive // it is not the context of this call
	return &Consumer{session: s, journal: j, partition: number, lease: leaseCtx, incomplete: map[Position][]uint64{}, held: map[Position]bool{}, remove: s.store.Delete, removeObject: s.objects.Remove}
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

// DeletedWebhooks returns the webhooks of the partition that were deleted while the buffer has events of them, and since when.
func (c *Consumer) DeletedWebhooks(ctx context.Context) (map[string]time.Time, error) {
	found, err := c.session.deletedWebhooks(c.journal.logger).List(ctx)
	maps.DeleteFunc(found, func(webhook string, _ time.Time) bool { return !c.Delivers(webhook) })
	return found, err
}

// Delivers reports whether a webhook is of the partition.
func (c *Consumer) Delivers(webhook string) bool {
	return c.partition == partition.Whole || c.session.subjects.Partition(webhook) == c.partition
}

// MarkDeleted remembers since when a webhook is deleted, or with a zero time that it is not.
func (c *Consumer) MarkDeleted(ctx context.Context, webhook string, since time.Time) error {
	return c.session.deletedWebhooks(c.journal.logger).Mark(ctx, webhook, since)
}
