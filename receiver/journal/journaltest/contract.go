package journaltest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// Leader is what the contract is about: the leader's handle on a buffer.
type Leader interface {
	LeaseContext() context.Context
	Remainders(ctx context.Context, take func(*journal.StoredBatch)) error
	Watch(ctx context.Context, announce func(journal.BatchInfo), known func()) error
	Next(ctx context.Context, webhook string, from uint64) (*journal.StoredBatch, error)
	Get(ctx context.Context, position journal.Position) (*journal.StoredBatch, error)
	Ack(ctx context.Context, batch *journal.StoredBatch) error
	Requeue(ctx context.Context, batch *journal.StoredBatch, remaining []journal.PendingEvent) ([]*journal.StoredBatch, error)
	DeadLetter(ctx context.Context, batch *journal.StoredBatch, letters []journal.DeadLetter) error
	DeletedWebhooks(ctx context.Context) (map[string]time.Time, error)
	MarkDeleted(ctx context.Context, webhook string, since time.Time) error
}

// Buffer is an empty buffer on which the contract is checked.
type Buffer struct {
	// Append stores a batch: an array of events, received at [Received].
	Append func(webhook string, events ...string)
	// Lead runs do as a new leader of the same buffer.
	Lead func(do func(context.Context, Leader))
	// Fill leaves no space for remainders until free is called.
	Fill func() (free func())
	// DeadLetters are the ids of the dead letters.
	DeadLetters func() []string
}

// Received is when the batches of the contract were received.
var Received = time.UnixMilli(1795227543123)

const webhook = "shop/a"

// contract is a buffer under test.
type contract struct {
	t *testing.T
	b Buffer
}

// TestConsumer checks that a leader's handle does what those who deliver rely on. Each part gets a buffer of its own.
func TestConsumer(t *testing.T, buffer func(*testing.T) Buffer) { //nolint:tparallel // its callers are parallel
	t.Helper()
	for name, check := range map[string]func(*contract){
		"next goes through the batches of a webhook": (*contract).next,
		"get reads again":                       (*contract).get,
		"ack removes":                           (*contract).ack,
		"watch announces":                       (*contract).watch,
		"watch of an empty buffer":              (*contract).watchEmpty,
		"requeue replaces":                      (*contract).requeue,
		"requeue without space changes nothing": (*contract).requeueWithoutSpace,
		"dead letters are stored once":          (*contract).deadLetter,
		"deleted webhooks are remembered":       (*contract).deletedWebhooks,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(&contract{t, buffer(t)})
		})
	}
}

// read is the first batch at a position or after it.
func (c *contract) read(ctx context.Context, leader Leader, from uint64) *journal.StoredBatch {
	c.t.Helper()
	batch, err := leader.Next(ctx, webhook, from)
	if err != nil {
		c.t.Fatal(err)
	}
	return batch
}

// gone expects nothing to be at a position, for the next leader either.
func (c *contract) gone(position journal.Position) {
	c.t.Helper()
	c.b.Lead(func(ctx context.Context, leader Leader) {
		if batch, err := leader.Get(ctx, position); err == nil {
			c.t.Errorf("%s is still there: %+v", position, batch)
		}
	})
}

func (c *contract) next() {
	c.b.Append(webhook, "1", "2")
	c.b.Append("shop/b", "3")
	c.b.Append(webhook, "4")
	c.b.Lead(func(ctx context.Context, leader Leader) {
		if leader.LeaseContext().Err() != nil {
			c.t.Error("the leader has no lease")
		}
		first := c.read(ctx, leader, 0)
		second := c.read(ctx, leader, first.Position.Seq+1)
		if again := c.read(ctx, leader, first.Position.Seq); again.Position != first.Position {
			c.t.Errorf("at %s there is %s", first.Position, again.Position)
		}
		if string(first.Value) != "[1,2]" || first.EventCount != 2 || first.Webhook != webhook || !first.Received.Equal(Received) || !first.AgeStart().Equal(Received) {
			c.t.Errorf("the first is %+v", first)
		}
		if first.Position.Remainder || first.Origin != first.Position.Seq {
			c.t.Errorf("the first is at %s, its origin is %d", first.Position, first.Origin)
		}
		if string(second.Value) != "[4]" {
			c.t.Errorf("the second is %+v", second)
		}
		if batch, err := leader.Next(ctx, webhook, second.Position.Seq+1); err == nil {
			c.t.Errorf("after the last there is %+v", batch)
		}
	})
}

func (c *contract) get() {
	c.b.Append(webhook, "1")
	c.b.Lead(func(ctx context.Context, leader Leader) {
		first := c.read(ctx, leader, 0)
		again, err := leader.Get(ctx, first.Position)
		if err != nil || string(again.Value) != "[1]" || again.Position != first.Position {
			c.t.Errorf("got %+v, error %v", again, err)
		}
		for _, position := range []journal.Position{{Seq: 99}, {Remainder: true, Seq: first.Position.Seq}} {
			if batch, err := leader.Get(ctx, position); err == nil {
				c.t.Errorf("at %s there is %+v", position, batch)
			}
		}
	})
}

func (c *contract) ack() {
	c.b.Append(webhook, "1")
	c.b.Append(webhook, "2")
	var first *journal.StoredBatch
	c.b.Lead(func(ctx context.Context, leader Leader) {
		first = c.read(ctx, leader, 0)
		if err := leader.Ack(ctx, first); err != nil {
			c.t.Error(err)
		}
		if next := c.read(ctx, leader, 0); string(next.Value) != "[2]" {
			c.t.Errorf("next is %+v", next)
		}
	})
	c.gone(first.Position)
}

func (c *contract) watch() {
	c.b.Append(webhook, "1", "2")
	c.b.Append("shop/b", "3")
	c.b.Lead(func(ctx context.Context, leader Leader) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		announced, known := make(chan journal.BatchInfo, 9), make(chan struct{})
		ended := make(chan error, 1)
		go func() {
			ended <- leader.Watch(ctx, func(info journal.BatchInfo) { announced <- info }, func() { close(known) })
		}()
		<-known
		if len(announced) != 2 {
			c.t.Fatalf("%d batches are announced, want 2", len(announced))
		}
		first, second := <-announced, <-announced
		if first.Webhook != webhook || first.Events != 2 || !first.Received.Equal(Received) || second.Webhook != "shop/b" || second.Seq <= first.Seq {
			c.t.Errorf("announced are %+v and %+v", first, second)
		}
		c.b.Append(webhook, "4")
		if third := <-announced; third.Seq <= second.Seq || third.Events != 1 {
			c.t.Errorf("announced is %+v", third)
		}
		cancel()
		if err := <-ended; err != nil {
			c.t.Error(err)
		}
	})
}

func (c *contract) watchEmpty() {
	c.b.Lead(func(ctx context.Context, leader Leader) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if err := leader.Watch(ctx, func(info journal.BatchInfo) { c.t.Errorf("announced is %+v", info) }, cancel); err != nil {
			c.t.Error(err)
		}
	})
}

// remainders are those that a new leader finds.
func (c *contract) remainders() (found []*journal.StoredBatch) {
	c.t.Helper()
	c.b.Lead(func(ctx context.Context, leader Leader) {
		if err := leader.Remainders(ctx, func(remainder *journal.StoredBatch) { found = append(found, remainder) }); err != nil {
			c.t.Error(err)
		}
	})
	return found
}

func (c *contract) requeue() {
	c.b.Append(webhook, "1", "2", "3")
	events := []journal.PendingEvent{
		{ID: "2", Raw: []byte("2"), Index: 1, Attempts: 3, Due: time.UnixMilli(1795227549000).UTC(), Status: 503, Answer: "später"},
		{ID: "3", Raw: []byte("3"), Index: 2, Refused: true, DeadLetterAttempts: 1},
	}
	var batch *journal.StoredBatch
	parent := journal.Position{}
	for range 2 { // a batch, and its remainder
		c.b.Lead(func(ctx context.Context, leader Leader) {
			if batch == nil {
				batch = c.read(ctx, leader, 0)
			}
			parent = batch.Position
			stored, err := leader.Requeue(ctx, batch, events)
			if err != nil || len(stored) != 1 {
				c.t.Fatalf("got %+v, error %v", stored, err)
			}
			if stored[0].Position == parent || !stored[0].Position.Remainder || stored[0].Origin != batch.Origin || stored[0].Webhook != webhook || stored[0].EventCount != len(events) {
				c.t.Errorf("the remainder is %+v", stored[0])
			}
			if diff := cmp.Diff(events, stored[0].Events); diff != "" {
				c.t.Errorf("its events (-want +got):\n%s", diff)
			}
			if next, err := leader.Next(ctx, webhook, 0); err == nil {
				c.t.Errorf("next is %+v", next)
			}
			batch = stored[0]
		})
		c.gone(parent)
		found := c.remainders()
		if len(found) != 1 || found[0].Position != batch.Position || found[0].Origin != batch.Origin || !found[0].Received.Equal(Received) {
			c.t.Fatalf("found %+v, want %+v", found, batch)
		}
		if diff := cmp.Diff(events, found[0].Events); diff != "" {
			c.t.Errorf("the events of the remainder (-want +got):\n%s", diff)
		}
		events = events[1:]
	}
	c.b.Lead(func(ctx context.Context, leader Leader) {
		if err := leader.Ack(ctx, batch); err != nil {
			c.t.Error(err)
		}
	})
	if found := c.remainders(); len(found) > 0 {
		c.t.Errorf("found %+v", found)
	}
}

func (c *contract) requeueWithoutSpace() {
	c.b.Append(webhook, "1", "2")
	events := []journal.PendingEvent{{ID: "2", Raw: []byte("2")}}
	c.b.Lead(func(ctx context.Context, leader Leader) {
		batch := c.read(ctx, leader, 0)
		free := c.b.Fill()
		if _, err := leader.Requeue(ctx, batch, events); !errors.Is(err, journal.ErrFull) {
			c.t.Errorf("got %v, want %v", err, journal.ErrFull)
		}
		if again, err := leader.Get(ctx, batch.Position); err != nil || string(again.Value) != "[1,2]" {
			c.t.Errorf("the batch is %+v, error %v", again, err)
		}
		free()
		if _, err := leader.Requeue(ctx, batch, events); err != nil {
			c.t.Error(err)
		}
	})
	if found := c.remainders(); len(found) != 1 {
		c.t.Errorf("found %+v", found)
	}
}

func (c *contract) deadLetter() {
	c.b.Append(webhook, "1", "2")
	for range 2 { // as after a crash
		c.b.Lead(func(ctx context.Context, leader Leader) {
			letters := []journal.DeadLetter{
				{PendingEvent: journal.PendingEvent{ID: "1", Raw: []byte("1"), Attempts: 3}, Reason: journal.ReasonExhausted},
				{PendingEvent: journal.PendingEvent{ID: "2", Raw: []byte("2")}, Reason: journal.ReasonRefused},
			}
			if err := leader.DeadLetter(ctx, c.read(ctx, leader, 0), letters); err != nil {
				c.t.Error(err)
			}
		})
	}
	if got := strings.Join(c.b.DeadLetters(), " "); got != "1 2" {
		c.t.Errorf("dead letters are %q, want 1 2", got)
	}
}

func (c *contract) deletedWebhooks() {
	expect := func(want map[string]time.Time) {
		c.t.Helper()
		c.b.Lead(func(ctx context.Context, leader Leader) {
			got, err := leader.DeletedWebhooks(ctx)
			if err != nil {
				c.t.Error(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				c.t.Errorf("deleted webhooks (-want +got):\n%s", diff)
			}
		})
	}
	mark := func(webhook string, since time.Time) {
		c.b.Lead(func(ctx context.Context, leader Leader) {
			if err := leader.MarkDeleted(ctx, webhook, since); err != nil {
				c.t.Error(err)
			}
		})
	}
	expect(map[string]time.Time{})
	mark(webhook, time.UnixMilli(1))
	mark("shop/b c", time.UnixMilli(2))
	expect(map[string]time.Time{webhook: time.UnixMilli(1), "shop/b c": time.UnixMilli(2)})
	mark(webhook, time.Time{})
	expect(map[string]time.Time{"shop/b c": time.UnixMilli(2)})
}
