package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/lease"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

const (
	// Settling is how long a new member looks who else is there, before it takes partitions.
	Settling = 2 * lease.PollInterval
	// attempts is how often the table is changed in a row while others change it.
	attempts = 5
)

// Options configures a member. All fields are required.
type Options struct {
	ID     string // was never used before
	Count  int    // of partitions
	Store  *store.Store
	State  *store.State
	Time   time.Duration // how long a member may be silent
	Logger *slog.Logger
	// Deliver delivers a partition until ctx ends; then it may finish its work until the lease ends. It is called again when it returns.
	Deliver func(ctx, lease context.Context, partition int)
	// Delivering is called when the number of partitions changes that this member delivers.
	Delivering func(partitions int)
	// Before is called with whether an older receiver delivers.
	Before func(delivers bool)
}

// member is a member while it has its lease. Its loop alone uses it.
type member struct {
	Options
	table    *lease.Election
	observer *observer
	started  time.Time
	written  time.Time // when this member wrote the table last
	waiting  bool      // for an older receiver
	runs     map[int]*run
	ended    chan *run
	pauses   map[int]*pause
	free     map[int]time.Time // since when a partition is free
}

// run is the delivery of a partition.
type run struct {
	partition  int
	stop, lose context.CancelFunc
	moving     bool // another member is to take it
	lost       bool // another member has it
}

// pause keeps a partition from being taken again at once when its delivery has failed.
type pause struct {
	backoff *store.Backoff
	until   time.Time
}

// Run makes this process a member until ctx ends, its lease is lost, or life ends.
func Run(ctx, life context.Context, options Options) error {
	held, lose := context.WithCancel(context.WithoutCancel(ctx)) // after a planned stop, work in flight finishes
	defer lose()
	defer context.AfterFunc(life, lose)()
	m := newMember(options)
	own, err := m.election(memberPrefix+m.ID).Take(held, m.ID, 0)
	if err != nil {
		return fmt.Errorf("joining the members that deliver: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		own.Keep(held)
		lose()
	}()
	defer func() { lose(); <-ended; own.Release() }() //nolint:contextcheck // the lease is released although the context has ended
	m.loop(ctx, held)
	return nil
}

// End ends the lease of a member of this process that has ended and could not release it.
func End(ctx context.Context, state *store.State, id string) error {
	if _, err := state.KeyValue.Put(ctx, memberPrefix+id, nil); err != nil {
		return fmt.Errorf("ending an earlier lease: %w", err)
	}
	return nil
}

// IsHeldBefore reports whether an older receiver delivers, or has delivered last and not released its lease.
func IsHeldBefore(ctx context.Context, state *store.State) (bool, error) {
	found, err := state.KeyValue.Get(ctx, tableKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading who delivers from the buffer: %w", err)
	}
	return len(found.Value()) > 0 && !isTable(string(found.Value())), nil
}

func newMember(options Options) *member {
	m := &member{
		Options: options, started: time.Now(), runs: map[int]*run{}, ended: make(chan *run, options.Count), pauses: map[int]*pause{}, free: map[int]time.Time{},
	}
	m.table = m.election(tableKey)
	m.observer = &observer{store: m.Store, state: m.State, lease: m.election, time: m.Time, seen: map[string]sighting{}}
	return m
}

func (m *member) election(key string) *lease.Election {
	return &lease.Election{State: m.State.KeyValue, Key: key, Time: m.Time, Timeout: m.Store.Timeout}
}

// loop delivers partitions until ctx or the lease ends, and all deliveries have ended.
func (m *member) loop(ctx, held context.Context) {
	ticker := time.NewTicker(lease.PollInterval)
	defer ticker.Stop()
	for stop := ctx.Done(); ; {
		select {
		case <-held.Done():
			if len(m.runs) > 0 {
				m.Logger.Warn("Lost all partitions of the buffer, because the lease could not be renewed or the buffer failed", "partitions", len(m.runs))
			}
			m.loseAll()
			for len(m.runs) > 0 {
				m.finish(ctx, <-m.ended)
			}
			return
		case <-stop:
			stop = nil
		case ended := <-m.ended:
			m.finish(ctx, ended)
			for len(m.ended) > 0 {
				m.finish(ctx, <-m.ended)
			}
		case <-ticker.C:
		}
		if ctx.Err() != nil && len(m.runs) == 0 {
			m.Logger.Info("Gave up all partitions of the buffer to stop")
			return
		}
		for range attempts {
			if m.step(ctx, held) {
				break
			}
		}
	}
}

// start delivers a partition.
func (m *member) start(ctx, held context.Context, partition int) {
	leaseCtx, lose := context.WithCancel(held)
	delivering, stop := context.WithCancel(ctx)
	r := &run{partition: partition, stop: stop, lose: lose}
	m.runs[partition] = r
	if m.pauses[partition] == nil {
		m.pauses[partition] = &pause{backoff: store.NewBackoff(time.Now)}
	}
	m.pauses[partition].backoff.Begin()
	release := context.AfterFunc(leaseCtx, stop)
	go func() {
		m.Deliver(delivering, leaseCtx, partition)
		release()
		stop()
		lose()
		m.ended <- r
	}()
}

// finish forgets a delivery that has ended.
func (m *member) finish(ctx context.Context, r *run) {
	delete(m.runs, r.partition)
	m.Delivering(len(m.runs))
	switch {
	case r.lost:
		m.Logger.Warn("Lost a partition of the buffer to another receiver", "partition", r.partition, "delivers", len(m.runs))
	case r.moving:
		m.Logger.Info("Handed over a partition of the buffer to another receiver", "partition", r.partition, "delivers", len(m.runs))
	case ctx.Err() == nil: // it has ended by itself
		p := m.pauses[r.partition]
		p.until = time.Now().Add(p.backoff.Next())
	}
}

func (m *member) loseAll() {
	for _, r := range m.runs {
		r.lose()
	}
}

// mine returns the partitions that this member holds by a table.
func (m *member) mine(table *Table) (mine []int) {
	for partition, holder := range table.Holders {
		if holder == m.ID {
			mine = append(mine, partition)
		}
	}
	return mine
}

// loseTaken ends deliveries of partitions that a table gives to others.
func (m *member) loseTaken(table *Table) {
	for partition, r := range m.runs {
		if table.Holders[partition] != m.ID {
			r.lost = true
			r.lose()
		}
	}
}

// stopMoving stops deliveries of partitions that a table says are to move.
func (m *member) stopMoving(table *Table) {
	for _, partition := range table.Moving {
		if r := m.runs[partition]; r != nil && table.Holders[partition] == m.ID {
			r.moving = true
			r.stop()
		}
	}
}

func without[T comparable](list []T, gone func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), gone)
}
