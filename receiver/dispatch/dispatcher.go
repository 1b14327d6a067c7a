package dispatch

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/delivery"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/quarantine"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
	"github.com/mandrill-operator/mandrill-operator/receiver/recent"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
	"github.com/mandrill-operator/mandrill-operator/receiver/telemetry"
)

// Consumer reads the backlog of the buffer and records the progress of its delivery. [journal.Consumer] is one.
type Consumer interface {
	// LeaseContext ends when another process may deliver.
	LeaseContext() context.Context
	// Delivers reports whether a webhook is of the partition of the buffer that this consumer reads.
	Delivers(webhook string) bool
	// Remainders hands over the remainders of partly delivered batches. Watch reports each batch that waits, calls allKnown
	// when all of them were reported, and reports new ones as they come.
	Remainders(ctx context.Context, take func(*journal.StoredBatch)) error
	Watch(ctx context.Context, notify func(journal.BatchInfo), allKnown func()) error
	// Next returns the first batch of a webhook at a position or after it, Get what is at a position.
	Next(ctx context.Context, webhook string, from uint64) (*journal.StoredBatch, error)
	Get(ctx context.Context, position journal.Position) (*journal.StoredBatch, error)
	// Ack removes a batch, Requeue stores the events that remain in its place, and DeadLetter keeps events that are given up.
	Ack(ctx context.Context, batch *journal.StoredBatch) error
	Requeue(ctx context.Context, batch *journal.StoredBatch, remaining []journal.PendingEvent) ([]*journal.StoredBatch, error)
	DeadLetter(ctx context.Context, batch *journal.StoredBatch, dead []journal.DeadLetter) error
	// SetAside makes one dead letter of a whole batch without decoding it.
	SetAside(ctx context.Context, position journal.Position, reason string) (*journal.StoredBatch, error)
	// Record is the record of what is being processed. Next and Get begin a section of the batch, which the caller ends.
	Record() *quarantine.Record
	// DeletedWebhooks returns the webhooks that were found deleted, and when. MarkDeleted adds one; a zero time removes it.
	DeletedWebhooks(ctx context.Context) (map[string]time.Time, error)
	MarkDeleted(ctx context.Context, webhook string, since time.Time) error
}

// Sender delivers the events of a cycle, and reports for how long a sink must not get any. [sink.Sender] implements it.
type Sender interface {
	SendUntil(ctx context.Context, delivery sink.Delivery, items []*sink.Item, onDone func(done []*sink.Item) (goOn bool))
	BlockedFor(target sink.Target) time.Duration
	ClaimProbe(target sink.Target) bool
}

// Options configures a [Dispatcher]. Routes, Sender and Metrics are required.
type Options struct {
	Routes  *routing.Routes
	Sender  Sender
	Metrics *Metrics
	Tracer  trace.TracerProvider // nil: no traces
	Logger  *slog.Logger         // default: slog.Default()
	State   *delivery.State      // nil: nobody looks at the state of delivery
	Recent  *recent.Ring         // nil: nobody looks at recent events
	// Memory bounds, approximately, the batches that are loaded at the same time; default DefaultMemory.
	Memory int64
	// DeletedWebhookRetention is how long the events of a deleted webhook are kept; default DefaultDeletedWebhookRetention.
	DeletedWebhookRetention time.Duration
	// MaxAge is how long delivery of an event is tried; default DefaultMaxAge.
	MaxAge time.Duration
	Now    func() time.Time // default time.Now
}

// Dispatcher delivers the backlog of the buffer.
type Dispatcher struct {
	routes           *routing.Routes
	sender           Sender
	metrics          *Metrics
	tracer           telemetry.Tracer
	logger           *slog.Logger
	state            *delivery.State
	recent           *recent.Ring
	memory           *memoryLimit // for webhooks whose sinks work
	slowMemory       *memoryLimit // for webhooks that are slow, and hold it for long
	smallMemory      *memoryLimit // for cycles of up to smallCycleBytes
	loadMemory       *memoryLimit // for whole batches of which a cycle keeps little; never held while a sink is waited for
	standings        standings
	deletedRetention time.Duration
	maxAge           time.Duration
	now              func() time.Time
	seed             maphash.Seed

	mu      sync.Mutex
	current map[*leadership]struct{} // of the partitions that this process delivers
}

// New returns a dispatcher.
func New(options Options) *Dispatcher {
	d := &Dispatcher{
		routes: options.Routes, sender: options.Sender, metrics: options.Metrics, tracer: telemetry.NewTracer(options.Tracer), logger: options.Logger, state: options.State, recent: options.Recent,
		deletedRetention: cmp.Or(options.DeletedWebhookRetention, DefaultDeletedWebhookRetention), maxAge: cmp.Or(options.MaxAge, DefaultMaxAge),
		now: options.Now, seed: maphash.MakeSeed(), current: map[*leadership]struct{}{},
	}
	if d.logger == nil {
		d.logger = slog.Default()
	}
	memory := cmp.Or(options.Memory, DefaultMemory)
	d.memory, d.slowMemory, d.smallMemory, d.loadMemory = newMemoryLimit(memory/2), newMemoryLimit(memory/4), newMemoryLimit(memory/4), newMemoryLimit(memory/4)
	if d.now == nil {
		d.now = time.Now
	}
	return d
}

// Run delivers until the context ends or the consumer fails, and finishes the cycles under way. Events of one message go
// out in the order in which they came, whatever fails in between. Webhooks do not wait for each other. It may run for several consumers at
// the same time, which share the memory.
func (d *Dispatcher) Run(ctx context.Context, consumer Consumer) error {
	defer clearRecord(ctx, consumer) // after everything has ended
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l := &leadership{dispatcher: d, consumer: consumer, queues: map[string]*webhookQueue{}, fail: cancel}
	defer d.lead(l)()
	defer l.group.Wait()
	if err := l.quarantine(ctx); err != nil {
		return err
	}
	deleted, err := consumer.DeletedWebhooks(ctx)
	if err != nil {
		return err
	}
	l.deleted = deleted
	if err := l.restore(ctx); err != nil {
		return err
	}
	err = consumer.Watch(ctx, func(info journal.BatchInfo) { l.addBatch(ctx, info) }, l.setAllKnown)
	defer cancel(err) // runs before group.Wait: otherwise the queues would go on with the batches they have and get no new ones
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// lead adds a leadership until it ends.
func (d *Dispatcher) lead(l *leadership) (end func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.current[l] = struct{}{}
	return func() {
		d.mu.Lock()
		delete(d.current, l)
		d.mu.Unlock()
		d.state.Moved(l.consumer.Delivers)
	}
}

// leaderships returns what this process delivers now.
func (d *Dispatcher) leaderships() []*leadership {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.current))
}

// orderKey stands for the message of an event, or the address of one that belongs to no message. It is 0 when the event has neither.
func (d *Dispatcher) orderKey(event mandrill.Event) uint64 {
	key := mapping.OrderKey(event)
	if key == "" {
		return 0
	}
	return max(maphash.String(d.seed, key), 1)
}

// leadership is the time during which a dispatcher delivers a partition of the buffer, or all of it. It has a queue for each webhook with a backlog.
type leadership struct {
	dispatcher *Dispatcher
	consumer   Consumer
	fail       context.CancelCauseFunc
	group      sync.WaitGroup // of queues
	allKnown   atomic.Bool    // every batch that was there at the beginning was reported

	mu      sync.Mutex // guards what follows; taken before the lock of a queue
	queues  map[string]*webhookQueue
	deleted map[string]time.Time
}

// restore adds the remainders of partly delivered batches.
func (l *leadership) restore(ctx context.Context) error {
	d := l.dispatcher
	remainders := map[string][]*pendingBatch{}
	err := l.consumer.Remainders(ctx, func(stored *journal.StoredBatch) {
		key := quarantine.Key(stored.Position)
		l.consumer.Record().Begin(key)
		loaded, err := d.loadBatch(stored)
		l.consumer.Record().End(key)
		if err == nil { // never fails: remainders are not parsed
			remainders[stored.Webhook] = append(remainders[stored.Webhook], d.pendingOf(loaded))
		}
	})
	if err != nil {
		return err
	}
	for webhook, batches := range remainders {
		slices.SortFunc(batches, func(a, b *pendingBatch) int {
			return cmp.Or(cmp.Compare(a.origin, b.origin), cmp.Compare(a.firstIndex, b.firstIndex), cmp.Compare(a.position.Seq, b.position.Seq))
		})
		l.withQueue(ctx, webhook, func(q *webhookQueue) {
			for _, batch := range batches {
				q.order.add(batch)
			}
		})
	}
	return nil
}

func (l *leadership) addBatch(ctx context.Context, info journal.BatchInfo) {
	l.withQueue(ctx, info.Webhook, func(q *webhookQueue) { q.addBatch(info) })
}

// setAllKnown lets queues send remainders that waited for older batches to be reported. From now on this process knows what waits.
func (l *leadership) setAllKnown() {
	defer l.dispatcher.state.Moved(l.consumer.Delivers)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.allKnown.Store(true)
	for _, q := range l.queues {
		q.signal()
	}
}

// withQueue changes the queue of a webhook, which is started if there is none.
func (l *leadership) withQueue(ctx context.Context, webhook string, change func(*webhookQueue)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q, ok := l.queues[webhook]
	if !ok {
		q = newWebhookQueue(l, webhook)
		l.queues[webhook] = q
	}
	change(q)
	if !ok {
		l.group.Go(func() { q.run(ctx) })
	}
}

// removeIfIdle removes a queue without work and reports whether it did.
func (l *leadership) removeIfIdle(q *webhookQueue) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !q.idle() {
		return false
	}
	delete(l.queues, q.webhook)
	return true
}
