package sink

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
)

// posterFunc is a [Poster].
type posterFunc func(Target) error

func (f posterFunc) Post(_ context.Context, target Target, _ Payload) (int, error) {
	return 0, f(target)
}

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
			event := cloudevent.Event{Shared: cloudevent.NewShared("/s", nil), ID: "1", Type: "t"}
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

func TestUnusedConnectionsAreDropped(t *testing.T) {
	t.Parallel()
	client, long := &Client{}, 2*idleEndpointTimeout
	use := func(uri string) {
		if _, err := client.endpoint(Target{URI: uri}); err != nil {
			t.Fatal(err)
		}
	}
	uris := []string{"http://old.example/", "https://old.example/", "http://used.example/a", "http://used.example/b", "https://used.example/"}
	for _, uri := range uris {
		use(uri)
	}
	for key, e := range client.endpoints {
		e.pooled.used = time.Now().Add(-long)
		if strings.Contains(key.uri, "old") || key.uri == "http://used.example/b" {
			e.used.Store(time.Now().Add(-long).Unix())
		}
	}
	client.lastSweep = time.Now().Add(-long)
	use("https://used.example/")
	if len(client.endpoints) != 2 || len(client.transports) != 2 {
		t.Errorf("%d endpoints with %d transports remain, want the two that are used", len(client.endpoints), len(client.transports))
	}
	if e := client.endpoints[endpointKey{uri: "http://used.example/a"}]; e == nil || client.transports[transportKey{address: "used.example:80"}] != e.pooled {
		t.Error("an endpoint that is used lost its connections")
	}
}
