package journaltest_test

import (
	"context"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
)

// The consumer in memory keeps the contract of the journal's.
func TestFakeConsumer(t *testing.T) {
	t.Parallel()
	journaltest.TestConsumer(t, func(*testing.T) journaltest.Buffer {
		full := false
		c := &journaltest.Consumer{OnRequeue: func(*journal.StoredBatch, []journal.PendingEvent) error {
			if full {
				return journal.ErrFull
			}
			return nil
		}}
		return journaltest.Buffer{
			Append: func(webhook string, events ...string) {
				value := "[" + strings.Join(events, ",") + "]"
				c.Append(&journal.StoredBatch{Webhook: webhook, ID: value, Received: journaltest.Received, Value: []byte(value), EventCount: len(events)})
			},
			Lead: func(do func(context.Context, journaltest.Leader)) { do(context.Background(), c) },
			Fill: func() func() { full = true; return func() { full = false } },
			DeadLetters: func() (ids []string) {
				for _, letter := range c.DeadLetters() {
					ids = append(ids, letter.ID)
				}
				return ids
			},
		}
	})
}

// A consumer begins with what it is given, at its positions.
func TestFakeConsumerBeginsWith(t *testing.T) {
	t.Parallel()
	second := &journal.StoredBatch{Position: journal.Position{Seq: 5}, Origin: 5, Webhook: "shop/a", Value: []byte("[2]")}
	first := &journal.StoredBatch{Position: journal.Position{Seq: 3}, Origin: 3, Webhook: "shop/a", Value: []byte("[1]")}
	remainder := &journal.StoredBatch{Position: journal.Position{Remainder: true, Seq: 2}, Origin: 1, Webhook: "shop/a"}
	c := journaltest.NewConsumer(second, first, remainder)
	c.Append(&journal.StoredBatch{Webhook: "shop/a", Value: []byte("[3]")})
	var got []string
	for from := uint64(0); ; {
		batch, err := c.Next(t.Context(), "shop/a", from)
		if err != nil {
			break
		}
		got, from = append(got, string(batch.Value)), batch.Position.Seq+1
	}
	if strings.Join(got, " ") != "[1] [2] [3]" {
		t.Errorf("there are %v", got)
	}
	requeued, err := c.Requeue(t.Context(), first, []journal.PendingEvent{{ID: "1"}})
	if err != nil || requeued[0].Position != (journal.Position{Remainder: true, Seq: 3}) || requeued[0].Origin != 3 {
		t.Errorf("requeued at %+v, error %v", requeued, err)
	}
	if err := c.Ack(t.Context(), second); err != nil || len(c.Acked()) != 1 || len(c.Requeued()) != 1 {
		t.Errorf("acknowledged %v, requeued %v, error %v", c.Acked(), c.Requeued(), err)
	}
}
