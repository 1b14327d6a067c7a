package mandrilltest

import (
	"context"
	"net/http/httptest"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// TB is what Start needs of a test.
type TB interface {
	Helper()
	Cleanup(func())
}

// Start starts an emulator for a test, and closes it with the test. It returns the account of the first API key, and the base URL of the
// API for clients, which ends with /api/1.0.
func Start(t TB, options Options) (account *Account, baseURL string) {
	t.Helper()
	emulator := New(options)
	t.Cleanup(emulator.Close)
	server := httptest.NewServer(emulator)
	t.Cleanup(server.Close)
	return emulator.Account(emulator.options.APIKeys[0]), server.URL + "/api/1.0"
}

// AddWebhook adds a webhook as webhooks/add does. The URL must answer Mandrill's check.
func (a *Account) AddWebhook(ctx context.Context, url string, events ...string) (mandrill.Webhook, error) {
	added, err := addWebhook(ctx, a, arguments{"url": url, "events": events})
	if err != nil {
		return mandrill.Webhook{}, err
	}
	id := added.(map[string]any)["id"].(int64)
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	w, err := a.webhook(id)
	if err != nil {
		return mandrill.Webhook{}, err
	}
	return w.snapshot(), nil
}

// Flush is [Server.Flush].
func (a *Account) Flush(ctx context.Context) error { return a.server.Flush(ctx) }

// Finish is [Server.Finish].
func (a *Account) Finish(ctx context.Context) error { return a.server.Finish(ctx) }
