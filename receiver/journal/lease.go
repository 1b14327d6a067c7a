package journal

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/gc"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/lease"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// leaseTimes are the time limits of the lease.
func (s *session) leaseTimes() lease.Times {
	return lease.Times{Lease: s.leaseTime, MaxRequest: s.store.Timeout}
}

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
		held, err := lease.Acquire(ctx, s.state, s.leaseTimes(), j.holder)
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
	j.metrics.leader.Set(1)
	defer j.metrics.leader.Set(0)
	consumer := j.newConsumer(s, leaseCtx)
	consumer.record = j.newRecord(s, leaseCtx)
	defer consumer.record.Close()
	go j.collector(s).Run(ctx, j.gcInterval)
	err := do(ctx, consumer)
	if err != nil && leaseCtx.Err() == nil {
		j.fail(s) // the buffer may be the cause
	}
	return err
}

func (j *Journal) newConsumer(s *session, leaseCtx context.Context) *Consumer { //nolint:revive // it is not the context of this call
	return &Consumer{session: s, journal: j, lease: leaseCtx, incomplete: map[Position][]uint64{}, held: map[Position]bool{}}
}

// collector returns what collects the garbage of a session. References move from batches to remainders to dead letters.
func (j *Journal) collector(s *session) *gc.Collector {
	return &gc.Collector{
		Store: s.store, Objects: s.objects, Streams: []jetstream.Stream{s.batches, s.remainders, s.dead}, Header: headerObject, Logger: j.logger,
	}
}
