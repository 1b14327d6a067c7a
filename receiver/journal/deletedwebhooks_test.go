package journal_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// A webhook that is there again leaves nothing behind, and however many are deleted at once, with the longest names, the lease has
// space.
func TestDeletedWebhooksLeaveSpaceForTheLease(t *testing.T) {
	t.Parallel()
	const most, back = 5000, 100
	o := open(t, t.TempDir(), journal.MinBytes)
	before := o.messages(stateStream)
	name := func(i int) string { return fmt.Sprintf("shop/%d", i) + strings.Repeat(".", 500) }
	now := time.UnixMilli(1795227543123)
	o.work(func(ctx context.Context, w *journal.Consumer) {
		set := func(i int, since time.Time) {
			if err := w.MarkDeleted(ctx, name(i), since); err != nil {
				t.Fatalf("webhook %d: %v", i, err)
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
		deleted, err := w.DeletedWebhooks(ctx)
		if err != nil || len(deleted) < most-10 || !deleted[name(0)].Equal(now) {
			t.Errorf("%d deleted webhooks, the first since %s, error %v", len(deleted), deleted[name(0)], err)
		}
		for i := range back {
			set(i, time.Time{})
		}
		left, err := w.DeletedWebhooks(ctx)
		if err != nil || len(left) != len(deleted)-back {
			t.Errorf("%d of %d deleted webhooks are left, error %v", len(left), len(deleted), err)
		}
		if messages, want := o.messages(stateStream), before+uint64(len(left))+1; messages > want { //nolint:contextcheck // that of the test
			t.Errorf("there are %d messages, want %d", messages, want)
		}
	})
}
