package journal_test

import (
	"context"
	"errors"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// A large event can be read while its batch comes again.
func TestLargeEventIsReadWhileItComesAgain(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), 1<<30)
	b := batch("shop/a", largeEvent(3<<20, 1))
	o.append(b)
	again := make(chan struct{})
	go func() {
		defer close(again)
		for answers := 0; answers < 5; {
			duplicate, err := o.Append(t.Context(), b)
			if err == nil && !duplicate || err != nil && !errors.Is(err, journal.ErrUnavailable) {
				t.Errorf("a duplicate: %t, error %v", duplicate, err)
			}
			if !errors.Is(err, journal.ErrUnavailable) {
				answers++
			}
		}
	}()
	o.work(func(ctx context.Context, w *journal.Consumer) {
		for reading := true; reading; {
			stored, err := w.Next(ctx, "shop/a", 0)
			if err != nil || string(stored.Events[0].Raw) != string(b.Events[0]) {
				t.Errorf("it is not as it was: %v", err)
				break
			}
			select {
			case <-again:
				reading = false
			default:
			}
		}
	})
	<-again
}

// A large event has few chunks, because each one is synced.
func TestLargeEventHasFewChunks(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), 1<<30)
	raw := largeEvent(20<<20, 1)
	o.deadLetter("shop/a", raw, journal.ReasonRefused)
	for _, what := range []string{"stored", "copied"} {
		// It compresses a little, because it has only letters and digits.
		if parts := o.messages(objectStream); parts < 12 || parts > 22 {
			t.Errorf("%s it is of %d messages", what, parts)
		}
		o.redrive(journal.Selection{})
	}
	if stored := o.next("shop/a", 0); stored == nil || string(stored.Events[0].Raw) != raw {
		t.Error("it is not the same")
	}
}
