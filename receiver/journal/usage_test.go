package journal_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// A buffer is the same one after a restart, and another one in another folder.
func TestUsageTellsBuffersApart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := open(t, dir, journal.MinBytes)
	used, err := first.Usage(t.Context())
	if err != nil || used.ID == "" || used.Full || used.Used != 0 || used.Max <= 0 {
		t.Errorf("an empty buffer has %+v, error %v", used, err)
	}
	first.append(batch("shop/a", "1"))
	after, err := first.Usage(t.Context())
	if err != nil || after.ID != used.ID || after.Used <= 0 {
		t.Errorf("after a batch it has %+v, error %v", after, err)
	}
	first.stop()
	if _, err := first.Usage(t.Context()); !errors.Is(err, journal.ErrUnavailable) {
		t.Errorf("a closed buffer returns %v, want ErrUnavailable", err)
	}
	again, err := open(t, dir, journal.MinBytes).Usage(t.Context())
	if err != nil || again.ID != used.ID {
		t.Errorf("after a restart it has %+v, error %v, want the id %s", again, err, used.ID)
	}
	other, err := open(t, t.TempDir(), journal.MinBytes).Usage(t.Context())
	if err != nil || other.ID == used.ID {
		t.Errorf("another buffer has %+v, error %v, want another id", other, err)
	}
}

func TestHeldDeadLettersAreCountedByWebhook(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), journal.MinBytes)
	for i, webhook := range []string{"shop/a", "shop/a", "shop.x/b=2E.", "größe/c"} {
		o.deadLetter(webhook, strconv.Itoa(i), journal.ReasonRefused)
	}
	got, err := o.HeldDeadLetters(t.Context())
	if want := map[string]int64{"shop/a": 2, "shop.x/b=2E.": 1, "größe/c": 1}; err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, error %v, want %v", got, err, want)
	}
	o.stop()
	if _, err := o.HeldDeadLetters(t.Context()); !errors.Is(err, journal.ErrUnavailable) {
		t.Errorf("a closed buffer returns %v, want ErrUnavailable", err)
	}
}

// The series of removed dead letters are those of the webhooks that have a route.
func TestSeriesOfRemovalsFollowTheRoutes(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	removals := journal.NewMetrics(registry).Removals
	series := func() map[string]float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]float64{}
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				if family.GetName() == "mandrill_receiver_dead_letters_evicted_total" {
					values[metric.GetLabel()[0].GetValue()] = metric.GetCounter().GetValue()
				}
			}
		}
		return values
	}
	removals.SetWebhooks(maps.Keys(map[string]bool{"shop/a": true, "shop/b": true}))
	if got := series(); !maps.Equal(got, map[string]float64{"shop/a": 0, "shop/b": 0}) {
		t.Errorf("got %v, want both webhooks at 0", got)
	}
	removals.Evicted("shop/a")
	removals.SetWebhooks(maps.Keys(map[string]bool{"shop/b": true}))
	removals.Evicted("shop/a")
	removals.AgedOut("shop/b")
	if got := series(); !maps.Equal(got, map[string]float64{"": 1, "shop/b": 0}) {
		t.Errorf("got %v, want the one without a route without its name", got)
	}
}

// A message that is damaged is lost for its webhook, which is told.
func TestLostMessagesHaveTheirWebhook(t *testing.T) {
	t.Parallel()
	limits, err := journal.SplitLimits(journal.MinBytes, 0)
	if err != nil {
		t.Fatal(err)
	}
	lost := map[string]int{}
	logger := slog.New(slog.DiscardHandler)
	o := run(t, journal.New(journal.Options{
		Engine: &engine.Embedded{Dir: t.TempDir(), Reserve: smallReserve, Logger: logger}, Limits: limits, Logger: logger,
		LostDamaged: func(webhook string) { lost[webhook]++ },
	}))
	damaged := nats.NewMsg("mandrill.batch.shop/a")
	damaged.Header.Set("Mandrill-Webhook", "shop/a")
	if _, err := o.stream.PublishMsg(t.Context(), damaged); err != nil {
		t.Fatal(err)
	}
	o.work(func(ctx context.Context, c *journal.Consumer) {
		if found, err := c.Next(ctx, "shop/a", 1); !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("got %v, error %v, want ErrNotFound", found, err)
		}
	})
	if want := map[string]int{"shop/a": 1}; !maps.Equal(lost, want) {
		t.Errorf("lost %v, want %v", lost, want)
	}
}

// Receivers that share a buffer say so by its id. Each of them sees what is in it.
func TestSharedBufferHasOneID(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options, _ := shared(t, e.url())
	others, _ := shared(t, e.url())
	first, second := run(t, journal.New(options)), run(t, journal.New(others))
	others.Name = "other"
	other := run(t, journal.New(others))
	first.append(batch("shop/a", "1"))
	var ids []string
	for _, o := range []*opened{first, second, other} {
		used, err := o.Usage(t.Context())
		if err != nil || (used.Used > 0) == (o == other) {
			t.Errorf("it has %+v, error %v", used, err)
		}
		ids = append(ids, used.ID)
	}
	if ids[0] != ids[1] || ids[0] == ids[2] {
		t.Errorf("the ids are %q, want the first two to be equal, and the third another one", ids)
	}
}
