package sink

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
)

// posterFunc is a [Poster].
type posterFunc func(Target) error

func (f posterFunc) Post(_ context.Context, target Target, _ Payload) error { return f(target) }

// A webhook that names the sink of another one, with a timeout that nothing can keep, opened the circuit for both. A
// Retry-After that it provoked held up both as well.
func TestWebhooksWithOneSinkDoNotAffectEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		victim := Delivery{Target: Target{URI: "http://shared.example", Timeout: 10 * time.Second, Webhook: "shop/a"}, Mode: Binary}
		evil := victim
		evil.Webhook = "evil/b"
		sender := NewSender(Options{Poster: posterFunc(func(target Target) error {
			if target.Webhook == evil.Webhook {
				return &Error{Status: 503, Err: errors.New("overloaded"), After: maxRetryAfter}
			}
			return nil
		})})
		send := func(delivery Delivery) *Item {
			event := cloudevents.New()
			event.SetID("1")
			event.SetSource("/s")
			event.SetType("t")
			item := &Item{Event: &event}
			sender.SendOnce(t.Context(), delivery, []*Item{item})
			return item
		}
		for range 2 * circuitThreshold {
			send(evil)
		}
		if sender.BlockedFor(evil.Target) == 0 {
			t.Error("the circuit of the failing webhook is closed")
		}
		if item := send(victim); item.State != Accepted {
			t.Errorf("the other webhook's event was not accepted: %v", item.Err)
		}
	})
}

func TestUnusedClientsAreDropped(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	client := &Client{clients: map[clientKey]*pooledClient{}}
	request := httptest.NewRequestWithContext(t.Context(), "POST", "https://sink.example/", nil)
	if _, err := client.client("", request); err != nil {
		t.Fatal(err)
	}
	client.clients[clientKey{proxy: "old"}] = &pooledClient{server.Client(), time.Now().Add(-2 * idleClientTimeout)}
	client.lastSweep = time.Now().Add(-2 * idleClientTimeout)
	if _, err := client.client("", request); err != nil {
		t.Fatal(err)
	}
	if _, kept := client.clients[clientKey{proxy: "old"}]; kept || len(client.clients) != 1 {
		t.Errorf("%d clients remain, want the used one", len(client.clients))
	}
}
