package dispatch_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

// Sinks that never answer hold memory for as long as requests may take. However many they are, webhooks whose sinks work are
// delivered meanwhile: those that are known to work, and new ones.
func TestHangingSinksDoNotDelayOthers(t *testing.T) {
	t.Parallel()
	const hanging, events = 60, 100
	hang := make(chan struct{})
	b := newBufferedReceiver(t, func(b *bufferedReceiver) {
		b.webhooks = map[string]routes.Delivery{"known": {}, "new": {}}
		for i := range hanging {
			b.webhooks[fmt.Sprint("hang", i)] = routes.Delivery{}
		}
	})
	defer close(hang)
	b.sinks.setAnswer(func(host, _ string, _ int) error {
		if host != "known" && host != "new" {
			<-hang
		}
		return nil
	})
	b.post("known", "send 0")
	want := []string{"known send 0"}
	b.sinks.expectAccepted(t, want...)
	for i := range hanging {
		batch := make([]string, events)
		for j := range batch {
			batch[j] = fmt.Sprintf("send %d-%d", i, j)
		}
		b.post(fmt.Sprint("hang", i), batch...)
	}
	b.sinks.waitFor(t, "a request to every sink that hangs", func(_ []string, attempts map[string]int) bool { return len(attempts) >= hanging })
	for i := 1; i <= 50; i++ {
		for _, webhook := range []string{"known", "new"} {
			b.post(webhook, fmt.Sprint("send ", i), fmt.Sprint("open ", i))
			want = append(want, fmt.Sprintf("%s send %d", webhook, i), fmt.Sprintf("%s open %d", webhook, i))
		}
	}
	b.sinks.expectAccepted(t, want...)
}

// A small cycle sends a part of a batch and reads the rest again when it saves the progress.
func TestNewWebhookDeliversALargeBatch(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t)
	var batch, want []string
	for i := range 1000 {
		batch = append(batch, fmt.Sprintf("send %d", i%100), fmt.Sprintf("open %d", i))
		want = append(want, fmt.Sprintf("a send %d", i%100), fmt.Sprintf("a open %d", i))
	}
	b.sinks.setAnswer(func(_, event string, attempt int) error {
		if attempt == 1 && slices.Contains(batch[:5], strings.TrimPrefix(event, "a ")) { // in the first cycle
			return errSinkDown
		}
		return nil
	})
	b.post("a", batch...)
	b.sinks.expectAccepted(t, want...)
	b.waitEmpty()
}

// Large events need memory of their own, which others may hold for as long as their sinks take. Nothing that every cycle needs is
// held meanwhile.
func TestLargeEventsOfManyWebhooksAreDelivered(t *testing.T) {
	t.Parallel()
	const webhooks = 12
	b := newBufferedReceiver(t, func(b *bufferedReceiver) {
		b.options.Memory = 1 << 20 // any of the events takes all of it
		b.webhooks = map[string]routes.Delivery{}
		for i := range webhooks {
			b.webhooks[fmt.Sprint("w", i)] = routes.Delivery{BackoffDelay: "PT0.02S"}
		}
	})
	b.sinks.setAnswer(func(_, _ string, attempt int) error {
		if attempt == 1 {
			return errSinkDown // so that remainders are saved, for which batches are read again
		}
		return nil
	})
	var want []string
	for i := range webhooks {
		webhook := fmt.Sprint("w", i)
		b.postRaw(webhook, fmt.Appendf(nil, `{"event":"send","_id":"large","s3ntinel":%q}`, incompressible(i, 1<<20)), rawEvent("open 1"), rawEvent("open 2"))
		want = append(want, webhook+" send large", webhook+" open 1", webhook+" open 2")
	}
	b.sinks.expectAccepted(t, want...)
	b.waitEmpty()
}
