package receiver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// Work is what a [Dispatcher] does with what waits in the buffer. [journal.Work] is one.
type Consumer interface {
	// Right ends when somebody else may have the right to deliver.
	LeaseContext() context.Context
	// Rest hands over what is left of batches. Follow tells of the batches that wait, says when all of them are known, and
	// tells of those that come.
	Remainders(ctx context.Context, take func(*journal.StoredBatch)) error
	Watch(ctx context.Context, tell func(journal.BatchInfo), known func()) error
	// Take returns the first batch of a webhook at a place or after it, Load what is at a place.
	Next(ctx context.Context, webhook string, from uint64) (*journal.StoredBatch, error)
	Get(ctx context.Context, place journal.Position) (*journal.StoredBatch, error)
	// Finish takes a unit away, PutBack puts what is left of it in its place, and Bury keeps what is given up.
	Ack(ctx context.Context, unit *journal.StoredBatch) error
	Requeue(ctx context.Context, unit *journal.StoredBatch, left []journal.PendingEvent) ([]*journal.StoredBatch, error)
	DeadLetter(ctx context.Context, unit *journal.StoredBatch, dead []journal.DeadLetter) error
	// Orphans are the webhooks that are gone, and since when; SetOrphan adds one, or takes one away with a zero time.
	DeletedWebhooks(ctx context.Context) (map[string]time.Time, error)
	MarkDeleted(ctx context.Context, webhook string, since time.Time) error
}

// DispatchSender delivers the events of a cycle, and says when a sink takes none. [sink.Sender] implements it.
type DispatchSender interface {
	SendUntil(ctx context.Context, delivery sink.Delivery, items []*sink.Item, onDone func(done []*sink.Item) (goOn bool))
	BlockedFor(target sink.Target) time.Duration
	ClaimProbe(target sink.Target) bool
}

// DispatcherOptions configures a [Dispatcher]. Routes, Sender and Metrics are required.
type DispatcherOptions struct {
	Routes  *Routes
	Sender  DispatchSender
	Metrics *Metrics
	Tracer  trace.TracerProvider // nil: no traces
	Logger  *slog.Logger         // default: slog.Default()
	// Memory bounds, about, what is held of the buffer at the same time; default DefaultDispatchMemory.
	Memory int64
	// OrphanRetention is how long the events of a webhook that is gone are kept; default DefaultOrphanRetention.
	DeletedWebhookRetention time.Duration
	// MaxAge is how long an event is tried; default DefaultMaxAge.
	MaxAge time.Duration
	Now    func() time.Time // default time.Now
}

// Dispatcher delivers what waits in the buffer.
type Dispatcher struct {
	routes           *Routes
	sender           DispatchSender
	metrics          *Metrics
	tracer           tracer
	logger           *slog.Logger
	memory           *allowance // for what goes well
	failingMemory    *allowance // for what does not, and may take long
	deletedRetention time.Duration
	maxAge           time.Duration
	now              func() time.Time
	seed             maphash.Seed

	mu      sync.Mutex
	current *leadership // nil: it has no right to deliver
}

// NewDispatcher returns a dispatcher.
func NewDispatcher(options DispatcherOptions) *Dispatcher {
	d := &Dispatcher{
		routes: options.Routes, sender: options.Sender, metrics: options.Metrics, tracer: newTracer(options.Tracer), logger: options.Logger,
		deletedRetention: options.DeletedWebhookRetention, maxAge: options.MaxAge, now: options.Now, seed: maphash.MakeSeed(),
	}
	if d.logger == nil {
		d.logger = slog.Default()
	}
	if options.Memory == 0 {
		options.Memory = DefaultDispatchMemory
	}
	d.memory, d.failingMemory = newAllowance(options.Memory/2), newAllowance(options.Memory/2)
	if d.deletedRetention == 0 {
		d.deletedRetention = DefaultDeletedWebhookRetention
	}
	if d.maxAge == 0 {
		d.maxAge = DefaultMaxAge
	}
	if d.now == nil {
		d.now = time.Now
	}
	return d
}

// Run delivers until the context ends or the work does not work any more, and finishes what was begun. Events of one
// message go out in the order in which they came, whatever fails in between; those of one webhook do not wait for those
// of another.
func (d *Dispatcher) Run(ctx context.Context, work Consumer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := &leadership{Dispatcher: d, consumer: work, queues: map[string]*webhookQueue{}, fail: cancel}
	d.setLeadership(t)
	defer d.setLeadership(nil)
	defer t.group.Wait()
	orphans, err := work.DeletedWebhooks(ctx)
	if err != nil {
		return err
	}
	t.deleted = orphans
	if err := t.restore(ctx); err != nil {
		return err
	}
	err = work.Watch(ctx, func(notice journal.BatchInfo) { t.addBatch(ctx, notice) }, t.allKnown)
	defer cancel(err) // before the lanes are waited for, which else go on with what they have, and learn of nothing new
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

func (d *Dispatcher) setLeadership(t *leadership) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.current = t
}

// term is the time for which a dispatcher has the right to deliver.
type leadership struct {
	*Dispatcher
	consumer Consumer
	fail     context.CancelCauseFunc
	group    sync.WaitGroup // of lanes
	known    atomic.Bool    // all batches that were there at the beginning

	mu      sync.Mutex // guards what follows
	queues  map[string]*webhookQueue
	deleted map[string]time.Time
}

// restore takes note of what is left of batches.
func (t *leadership) restore(ctx context.Context) error {
	left := map[string][]*pendingBatch{}
	err := t.consumer.Remainders(ctx, func(unit *journal.StoredBatch) {
		if one, err := loadBatch(unit, t.now()); err == nil { // it always does: only batches are parsed
			left[unit.Webhook] = append(left[unit.Webhook], t.pendingOf(one))
		}
	})
	if err != nil {
		return err
	}
	for webhook, units := range left {
		slices.SortFunc(units, func(a, b *pendingBatch) int {
			return cmp.Or(cmp.Compare(a.origin, b.origin), cmp.Compare(a.firstIndex, b.firstIndex), cmp.Compare(a.position.Seq, b.position.Seq))
		})
		t.withQueue(ctx, webhook, func(l *webhookQueue) {
			for _, unit := range units {
				l.addPending(unit)
			}
		})
	}
	return nil
}

// notice takes note of a batch.
func (t *leadership) addBatch(ctx context.Context, notice journal.BatchInfo) {
	t.withQueue(ctx, notice.Webhook, func(l *webhookQueue) { l.addBatch(notice) })
}

// allKnown takes note that all batches are known that were there at the beginning.
func (t *leadership) allKnown() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known.Store(true)
	for _, l := range t.queues {
		l.signal()
	}
}

// lane changes the lane of a webhook, which is begun if need be.
func (t *leadership) withQueue(ctx context.Context, webhook string, change func(*webhookQueue)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.queues[webhook]
	if !ok {
		l = newWebhookQueue(t, webhook)
		t.queues[webhook] = l
	}
	change(l)
	if !ok {
		t.group.Go(func() { l.run(ctx) })
	}
}

// end takes a lane away that has nothing to do, and tells whether it did.
func (t *leadership) removeIfIdle(l *webhookQueue) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !l.idle() {
		return false
	}
	delete(t.queues, l.webhook)
	return true
}

// orphanSince returns since when a webhook is gone.
func (t *leadership) deletedSince(ctx context.Context, webhook string) (time.Time, error) {
	t.mu.Lock()
	since, known := t.deleted[webhook]
	t.mu.Unlock()
	if known {
		return since, nil
	}
	return t.markDeleted(ctx, webhook, t.now())
}

// found takes note that a webhook is there.
func (t *leadership) clearDeleted(ctx context.Context, webhook string) error {
	t.mu.Lock()
	_, known := t.deleted[webhook]
	t.mu.Unlock()
	if !known {
		return nil
	}
	_, err := t.markDeleted(ctx, webhook, time.Time{})
	return err
}

func (t *leadership) markDeleted(ctx context.Context, webhook string, since time.Time) (time.Time, error) {
	if err := t.consumer.MarkDeleted(ctx, webhook, since); err != nil {
		return since, fmt.Errorf("remembering that a webhook is gone: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if since.IsZero() {
		delete(t.deleted, webhook)
	} else {
		t.deleted[webhook] = since
	}
	return since, nil
}

// The backlog, by webhook.
var (
	backlogEvents = prometheus.NewDesc("mandrill_receiver_backlog_events", "Events in the buffer that are not delivered, by webhook.", []string{"webhook"}, nil)
	backlogBytes  = prometheus.NewDesc("mandrill_receiver_backlog_bytes", "Bytes that they take in the buffer, by webhook.", []string{"webhook"}, nil)
	backlogAge    = prometheus.NewDesc("mandrill_receiver_backlog_oldest_age_seconds", "Age of the oldest of them, by webhook.", []string{"webhook"}, nil)
)

// Describe and Collect make a dispatcher a collector of metrics, of what waits for it.
func (d *Dispatcher) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- backlogEvents
	descriptions <- backlogBytes
	descriptions <- backlogAge
}

// Collect implements [prometheus.Collector].
func (d *Dispatcher) Collect(metrics chan<- prometheus.Metric) {
	d.mu.Lock()
	t := d.current
	d.mu.Unlock()
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for webhook, l := range t.queues {
		events, bytes, oldest := l.backlog()
		metrics <- prometheus.MustNewConstMetric(backlogEvents, prometheus.GaugeValue, float64(events), webhook)
		metrics <- prometheus.MustNewConstMetric(backlogBytes, prometheus.GaugeValue, float64(bytes), webhook)
		if events > 0 {
			metrics <- prometheus.MustNewConstMetric(backlogAge, prometheus.GaugeValue, d.now().Sub(oldest).Seconds(), webhook)
		}
	}
}
