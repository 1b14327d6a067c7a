package dispatch_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/dispatch"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// fakeConsumer hands out batches without a journal. It records what becomes of them, and can fail.
type fakeConsumer struct {
	mu          sync.Mutex
	batches     []*journal.StoredBatch
	acked       []journal.Position
	deadLetters []journal.DeadLetter
	requeued    []journal.PendingEvent // not handed out again
	requeueErr  error
	watchGate   chan struct{} // if not nil, Watch reports batches once it is closed
	watchErr    error         // what Watch returns after it has reported all batches
	onAck       func(context.Context)
}

func (c *fakeConsumer) LeaseContext() context.Context { return context.Background() }

func (c *fakeConsumer) Remainders(_ context.Context, take func(*journal.StoredBatch)) error {
	for _, batch := range c.batches {
		if batch.Position.Remainder {
			take(batch)
		}
	}
	return nil
}

func (c *fakeConsumer) Watch(ctx context.Context, tell func(journal.BatchInfo), known func()) error {
	if c.watchGate != nil {
		<-c.watchGate
	}
	for _, batch := range c.batches {
		if !batch.Position.Remainder {
			tell(journal.BatchInfo{Seq: batch.Position.Seq, Webhook: batch.Webhook, Received: batch.Received, Events: batch.EventCount})
		}
	}
	known()
	if c.watchErr != nil {
		return c.watchErr
	}
	<-ctx.Done()
	return nil
}

func (c *fakeConsumer) Next(_ context.Context, webhook string, from uint64) (*journal.StoredBatch, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, batch := range c.batches {
		if !batch.Position.Remainder && batch.Webhook == webhook && batch.Position.Seq >= from && !slices.Contains(c.acked, batch.Position) {
			return batch, nil
		}
	}
	return nil, journal.ErrNotFound
}

func (c *fakeConsumer) Get(_ context.Context, position journal.Position) (*journal.StoredBatch, error) {
	for _, batch := range c.batches {
		if batch.Position == position {
			return batch, nil
		}
	}
	return nil, journal.ErrNotFound
}

func (c *fakeConsumer) Ack(ctx context.Context, batch *journal.StoredBatch) error {
	if c.onAck != nil {
		c.onAck(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked = append(c.acked, batch.Position)
	return nil
}

func (c *fakeConsumer) Requeue(_ context.Context, _ *journal.StoredBatch, remaining []journal.PendingEvent) ([]*journal.StoredBatch, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requeued = append(c.requeued, remaining...)
	return nil, c.requeueErr
}

func (c *fakeConsumer) DeadLetter(_ context.Context, _ *journal.StoredBatch, dead []journal.DeadLetter) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadLetters = append(c.deadLetters, dead...)
	return nil
}

func (c *fakeConsumer) DeletedWebhooks(context.Context) (map[string]time.Time, error) {
	return map[string]time.Time{}, nil
}

func (c *fakeConsumer) MarkDeleted(context.Context, string, time.Time) error { return nil }

func rawEvent(text string) []byte {
	name, id, _ := strings.Cut(text, " ")
	return fmt.Appendf(nil, `{"event":%q,"_id":%q}`, name, id)
}

func batchAt(seq uint64, events ...string) *journal.StoredBatch {
	batch := &journal.StoredBatch{Position: journal.Position{Seq: seq}, Origin: seq, Webhook: "shop/a", Received: time.Now(), EventCount: len(events)}
	var raw [][]byte
	for _, text := range events {
		raw = append(raw, rawEvent(text))
	}
	batch.Value = mandrilltest.Batch(raw...)
	return batch
}

func remainderAt(seq, origin uint64, events ...string) *journal.StoredBatch {
	batch := &journal.StoredBatch{Position: journal.Position{Remainder: true, Seq: seq}, Origin: origin, Webhook: "shop/a", Received: time.Now(), EventCount: len(events)}
	for _, text := range events {
		batch.Events = append(batch.Events, journal.PendingEvent{ID: text, Raw: rawEvent(text), Attempts: 1})
	}
	return batch
}

// startDispatcher runs a dispatcher until it fails or the test ends.
func startDispatcher(t *testing.T, consumer dispatch.Consumer, sinks *fakeSinks) <-chan error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := runDispatcher(ctx, t, consumer, sinks)
	failed, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		failed <- <-ended
	}()
	t.Cleanup(func() { cancel(); <-done })
	return failed
}

// runDispatcher runs a dispatcher until it fails or ctx ends.
func runDispatcher(ctx context.Context, t *testing.T, consumer dispatch.Consumer, sinks *fakeSinks) <-chan error {
	t.Helper()
	metrics := receiver.NewMetrics(prometheus.NewRegistry())
	table := &routing.Routes{Logger: slog.New(slog.DiscardHandler), Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	data, err := (&routes.Document{Routes: []routes.Route{{Name: "shop/a", URL: hookURL("a"), Source: "/s", Sink: routes.Sink{URI: "http://a.example/"}}}}).Encode()
	if err == nil {
		err = table.Load("routes", data)
	}
	if err != nil {
		t.Fatal(err)
	}
	table.Complete()
	dispatcher := dispatch.New(dispatch.Options{
		Routes: table, Sender: sink.NewSender(sink.Options{Poster: sinks}), Metrics: dispatch.NewMetrics(prometheus.NewRegistry(), metrics.Events), Logger: slog.New(slog.DiscardHandler),
	})
	ended := make(chan error, 1)
	go func() {
		defer close(ended)
		ended <- dispatcher.Run(ctx, consumer)
	}()
	return ended
}

// fullConsumer is a fakeConsumer without space for remainders until hasSpace is set.
type fullConsumer struct {
	fakeConsumer
	mu       sync.Mutex // of what follows
	hasSpace bool
	loaded   []weak.Pointer[byte]     // the first byte of each batch that was loaded
	requeues map[journal.Position]int // attempts
}

func (c *fullConsumer) Next(ctx context.Context, webhook string, from uint64) (*journal.StoredBatch, error) {
	batch, err := c.fakeConsumer.Next(ctx, webhook, from)
	if err != nil {
		return nil, err
	}
	read := *batch
	read.Value = bytes.Clone(batch.Value)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loaded = append(c.loaded, weak.Make(&read.Value[0]))
	return &read, nil
}

func (c *fullConsumer) Get(ctx context.Context, position journal.Position) (*journal.StoredBatch, error) {
	c.fakeConsumer.mu.Lock()
	defer c.fakeConsumer.mu.Unlock()
	return c.fakeConsumer.Get(ctx, position)
}

func (c *fullConsumer) Requeue(_ context.Context, batch *journal.StoredBatch, remaining []journal.PendingEvent) ([]*journal.StoredBatch, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requeues[batch.Position]++
	if !c.hasSpace {
		return nil, journal.ErrFull
	}
	remainder := &journal.StoredBatch{Position: journal.Position{Remainder: true, Seq: batch.Position.Seq}, Origin: batch.Origin, Webhook: batch.Webhook, Received: batch.Received, Events: remaining, EventCount: len(remaining)}
	c.fakeConsumer.mu.Lock()
	defer c.fakeConsumer.mu.Unlock()
	c.batches = append(c.batches, remainder)
	return []*journal.StoredBatch{remainder}, nil
}
