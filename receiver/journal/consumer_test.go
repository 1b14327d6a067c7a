package journal_test

import (
	"context"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
)

// contractBuffer is a journal on which the contract is checked.
func contractBuffer(o *opened) journaltest.Buffer {
	return journaltest.Buffer{
		Append: func(webhook string, events ...string) { o.append(batch(webhook, events...)) },
		Lead: func(do func(context.Context, journaltest.Leader)) {
			o.work(func(ctx context.Context, c *journal.Consumer) { do(ctx, c) })
		},
		Fill: func() (free func()) {
			o.on(func(operation string) error {
				if strings.HasPrefix(operation, "publish mandrill.remainder") {
					return &jetstream.APIError{ErrorCode: 10077, Description: "maximum bytes exceeded"}
				}
				return nil
			})
			return func() { o.on(nil) }
		},
		DeadLetters: func() (ids []string) {
			page, _, err := o.DeadLetters(o.t.Context(), journal.DeadLetterFilter{}, 0, 100)
			if err != nil {
				o.t.Error(err)
			}
			for _, letter := range page {
				ids = append(ids, letter.ID)
			}
			return ids
		},
	}
}

func TestConsumer(t *testing.T) {
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		journaltest.TestConsumer(t, func(t *testing.T) journaltest.Buffer { return contractBuffer(open(t, t.TempDir(), journal.MinBytes)) })
	})
	t.Run("external", func(t *testing.T) {
		t.Parallel()
		journaltest.TestConsumer(t, func(t *testing.T) journaltest.Buffer {
			options, _ := shared(t, newExternal(t).url())
			return contractBuffer(run(t, journal.New(options)))
		})
	})
}
