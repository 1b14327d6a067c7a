package dispatch_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bytes"
	"weak"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/dispatch"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// shelf is work without a journal, which can fail.
type fakeConsumer struct {
	mu          sync.Mutex
	batches     []*journal.StoredBatch
	acked       []journal.Position
	deadLetters []journal.DeadLetter
	requeued    []journal.PendingEvent // of what was put back, which is not handed out again
	requeueErr  error
	watchGate   chan struct{} // before the batches are known
	watchErr    error         // after they are
	onAck       func(context.Context)
}

func (s *fakeConsumer) LeaseContext() context.Context { return context.Background() }

func (s *fakeConsumer) Remainders(_ context.Context, take func(*journal.StoredBatch)) error {
	for _, unit := range s.batches {
		if unit.Position.Remainder {
			take(unit)
		}
	}
	return nil
}

func (s *fakeConsumer) Watch(ctx context.Context, tell func(journal.BatchInfo), known func()) error {
	if s.watchGate != nil {
		<-s.watchGate
	}
	for _, unit := range s.batches {
		if !unit.Position.Remainder {
			tell(journal.BatchInfo{Seq: unit.Position.Seq, Webhook: unit.Webhook, Received: unit.Received, Events: unit.EventCount})
		}
	}
	known()
	if s.watchErr != nil {
		return s.watchErr
	}
	<-ctx.Done()
	return nil
}

func (s *fakeConsumer) Next(_ context.Context, webhook string, from uint64) (*journal.StoredBatch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, unit := range s.batches {
		if !unit.Position.Remainder && unit.Webhook == webhook && unit.Position.Seq >= from && !slices.Contains(s.acked, unit.Position) {
			return unit, nil
		}
	}
	return nil, journal.ErrNotFound
}

func (s *fakeConsumer) Get(_ context.Context, place journal.Position) (*journal.StoredBatch, error) {
	for _, unit := range s.batches {
		if unit.Position == place {
			return unit, nil
		}
	}
	return nil, journal.ErrNotFound
}

func (s *fakeConsumer) Ack(ctx context.Context, unit *journal.StoredBatch) error {
	if s.onAck != nil {
		s.onAck(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = append(s.acked, unit.Position)
	return nil
}

func (s *fakeConsumer) Requeue(_ context.Context, _ *journal.StoredBatch, left []journal.PendingEvent) ([]*journal.StoredBatch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requeued = append(s.requeued, left...)
	return nil, s.requeueErr
}

func (s *fakeConsumer) DeadLetter(_ context.Context, _ *journal.StoredBatch, dead []journal.DeadLetter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadLetters = append(s.deadLetters, dead...)
	return nil
}

func (s *fakeConsumer) DeletedWebhooks(context.Context) (map[string]time.Time, error) {
	return map[string]time.Time{}, nil
}

func (s *fakeConsumer) MarkDeleted(context.Context, string, time.Time) error { return nil }

func rawEvent(text string) []byte {
	name, id, _ := strings.Cut(text, " ")
	return fmt.Appendf(nil, `{"event":%q,"_id":%q}`, name, id)
}

func batchAt(seq uint64, events ...string) *journal.StoredBatch {
	unit := &journal.StoredBatch{Position: journal.Position{Seq: seq}, Origin: seq, Webhook: "shop/a", Received: time.Now(), EventCount: len(events)}
	var raw [][]byte
	for _, text := range events {
		raw = append(raw, rawEvent(text))
	}
	unit.Value = mandrilltest.Batch(raw...)
	return unit
}

func remainderAt(seq, origin uint64, events ...string) *journal.StoredBatch {
	unit := &journal.StoredBatch{Position: journal.Position{Remainder: true, Seq: seq}, Origin: origin, Webhook: "shop/a", Received: time.Now(), EventCount: len(events)}
	for _, text := range events {
		unit.Events = append(unit.Events, journal.PendingEvent{ID: text, Raw: rawEvent(text), Attempts: 1})
	}
	return unit
}

// dispatch works off a shelf, until it ends by itself or the test does.
func startDispatcher(t *testing.T, work dispatch.Consumer, to *fakeSinks) <-chan error {
	t.Helper()
	metrics := receiver.NewMetrics(prometheus.NewRegistry())
	loaded := &routing.Routes{Logger: slog.New(slog.DiscardHandler), Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	data, err := (&routes.Document{Routes: []routes.Route{{Name: "shop/a", URL: hookURL("a"), Source: "/s", Sink: routes.Sink{URI: "http://a.example/"}}}}).Encode()
	if err == nil {
		err = loaded.Load("routes", data)
	}
	if err != nil {
		t.Fatal(err)
	}
	loaded.Complete()
	dispatcher := dispatch.New(dispatch.Options{
		Routes: loaded, Sender: sink.NewSender(sink.Options{Poster: to}), Metrics: dispatch.NewMetrics(prometheus.NewRegistry(), metrics.Events), Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended, gone := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(gone)
		ended <- dispatcher.Run(ctx, work)
	}()
	t.Cleanup(func() { cancel(); <-gone })
	return ended
}

// crammed is a shelf without room for what is left of a unit, until there is some.
type fullConsumer struct {
	*fakeConsumer
	mu       sync.Mutex
	hasSpace bool
	loaded   []weak.Pointer[byte] // where each batch was in memory
	requeues map[journal.Position]int
}

func (c *fullConsumer) Next(ctx context.Context, webhook string, from uint64) (*journal.StoredBatch, error) {
	unit, err := c.fakeConsumer.Next(ctx, webhook, from)
	if err != nil {
		return nil, err
	}
	read := *unit
	read.Value = bytes.Clone(unit.Value)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loaded = append(c.loaded, weak.Make(&read.Value[0]))
	return &read, nil
}

func (c *fullConsumer) Get(ctx context.Context, place journal.Position) (*journal.StoredBatch, error) {
	c.fakeConsumer.mu.Lock()
	defer c.fakeConsumer.mu.Unlock()
	return c.fakeConsumer.Get(ctx, place)
}

func (c *fullConsumer) Requeue(_ context.Context, unit *journal.StoredBatch, left []journal.PendingEvent) ([]*journal.StoredBatch, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requeues[unit.Position]++
	if !c.hasSpace {
		return nil, journal.ErrFull
	}
	rest := &journal.StoredBatch{Position: journal.Position{Remainder: true, Seq: unit.Position.Seq}, Origin: unit.Origin, Webhook: unit.Webhook, Received: unit.Received, Events: left, EventCount: len(left)}
	c.fakeConsumer.mu.Lock()
	defer c.fakeConsumer.mu.Unlock()
	c.batches = append(c.batches, rest)
	return []*journal.StoredBatch{rest}, nil
}
