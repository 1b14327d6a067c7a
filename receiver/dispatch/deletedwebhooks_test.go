package dispatch_test

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver/dispatch"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// Events of a deleted webhook wait for its retention, which continues over restarts, and then become dead letters.
func TestDeletedWebhookIsDeadLetteredAfterItsRetention(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	ahead := time.Duration(0)
	b := newBufferedReceiver(t, func(b *bufferedReceiver) {
		b.options.DeletedWebhookRetention = time.Hour
		b.options.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(ahead)
		}
		b.webhooks["b"] = routes.Delivery{}
	})
	b.sinks.setAnswer(failHosts("a", "b"))
	b.post("a", "send 1", "open 1")
	b.post("b", "send 2")
	delete(b.webhooks, "a")
	delete(b.webhooks, "b")
	b.loadRoutes()
	if status := b.postStatus("a", "send 3"); status != http.StatusNotFound {
		t.Errorf("status %d, want 404", status)
	}
	eventually(t, "two deleted webhooks", func() bool { return b.deletedWebhooks() == 2 })
	b.sinks.setAnswer(nil)
	b.webhooks["b"] = routes.Delivery{}
	b.loadRoutes()
	b.sinks.expectAccepted(t, "b send 2")
	eventually(t, "one deleted webhook", func() bool { return b.deletedWebhooks() == 1 })
	b.stop()
	mu.Lock()
	ahead = 59 * time.Minute
	mu.Unlock()
	b.start()
	eventually(t, "the backlog after the restart", func() bool { return b.metric("mandrill_receiver_backlog_events", "shop/a") == 2 })
	b.stop()
	mu.Lock()
	ahead = 61 * time.Minute
	mu.Unlock()
	b.start()
	eventually(t, "dead letters", func() bool {
		return b.metric("mandrill_receiver_dead_lettered_total", journal.ReasonWebhookDeleted) == 2
	})
	b.waitEmpty()
	eventually(t, "no deleted webhooks", func() bool { return b.deletedWebhooks() == 0 })
}

// A webhook counts as deleted only when all route documents are loaded: before, its document may be missing.
func TestDeletedWebhookIsRecognisedAfterRestart(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t)
	b.sinks.setAnswer(failHosts("a"))
	b.post("a", "send 1")
	delete(b.webhooks, "a")
	b.stop()
	b.incomplete = true
	b.start()
	eventually(t, "the backlog after the restart", func() bool { return b.metric("mandrill_receiver_backlog_events", "shop/a") == 1 })
	if b.deletedWebhooks() != 0 {
		t.Error("a webhook counts as deleted before all routes are loaded")
	}
	b.routes.Complete()
	eventually(t, "one deleted webhook", func() bool { return b.deletedWebhooks() == 1 })
}

// A webhook may come back after the dispatcher has found that its retention is over, and before its events are dead letters.
func TestDeletedWebhookThatComesBackIsDelivered(t *testing.T) {
	t.Parallel()
	sinks := newFakeSinks()
	table := &routing.Routes{Logger: slog.New(slog.DiscardHandler), Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	loadRoutes(t, table)
	consumer := journaltest.NewConsumer(batchAt(1, "send 1"))
	var once sync.Once
	consumer.OnNext = func(*journal.StoredBatch) { once.Do(func() { loadRoutes(t, table, "a") }) } // while the batch is read to be given up
	ctx, cancel := context.WithCancel(t.Context())
	ended := runDispatcherWith(ctx, t, dispatch.Options{Routes: table, DeletedWebhookRetention: time.Nanosecond}, consumer, sinks)
	sinks.expectAccepted(t, "a send 1")
	eventually(t, "an acknowledgement", func() bool { return len(consumer.Acked()) == 1 })
	cancel()
	<-ended
	if dead := consumer.DeadLetters(); len(dead) > 0 {
		t.Errorf("%d events were given up", len(dead))
	}
}
