package journal_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// Of a webhook that is there again nothing is left, and however many are gone at once, with the longest names, there is
// room for who delivers.
func TestOrphans(t *testing.T) {
	t.Parallel()
	const most, back = 5000, 100
	o := open(t, t.TempDir(), journal.MinBytes)
	before := o.messages(stateStream)
	name := func(i int) string { return fmt.Sprintf("shop/%d", i) + strings.Repeat(".", 500) }
	now := time.UnixMilli(1795227543123)
	o.work(func(ctx context.Context, w *journal.Consumer) {
		set := func(i int, since time.Time) {
			if err := w.MarkDeleted(ctx, name(i), since); err != nil {
				t.Fatalf("orphan %d: %v", i, err)
			}
		}
		for i := range most + 10 {
			set(i, now)
		}
		state, err := o.server().KeyValue(ctx, "mandrill-state")
		if err == nil {
			_, err = state.PutString(ctx, "leader", strings.Repeat("x", 22))
		}
		if err != nil {
			t.Errorf("the leader cannot renew its lease: %v", err)
		}
		orphans, err := w.DeletedWebhooks(ctx)
		if err != nil || len(orphans) < most-10 || !orphans[name(0)].Equal(now) {
			t.Errorf("%d orphans, the first since %s, error %v", len(orphans), orphans[name(0)], err)
		}
		for i := range back {
			set(i, time.Time{})
		}
		left, err := w.DeletedWebhooks(ctx)
		if err != nil || len(left) != len(orphans)-back {
			t.Errorf("%d of %d orphans are left, error %v", len(left), len(orphans), err)
		}
		if messages, want := o.messages(stateStream), before+uint64(len(left))+1; messages > want { //nolint:contextcheck // that of the test
			t.Errorf("there are %d messages, want %d", messages, want)
		}
	})
}
