package mandrilltest

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// webhook is a webhook of an account. The server's mutex guards it.
type webhook struct {
	id          int64
	url         string
	description *string
	key         string
	events      []string
	createdAt   time.Time
	lastSentAt  time.Time
	batchesSent int64
	eventsSent  int64
	lastError   *string
	failures    int // attempts that failed in a row
}

// microseconds is the layout of created_at. last_sent_at has no fraction.
const microseconds = "2006-01-02 15:04:05.000000"

func (w *webhook) json() map[string]any {
	var lastSentAt any
	if !w.lastSentAt.IsZero() {
		lastSentAt = w.lastSentAt.UTC().Format(time.DateTime)
	}
	return map[string]any{
		"id": w.id, "url": w.url, "description": w.description, "auth_key": w.key, "events": w.events,
		"created_at": w.createdAt.UTC().Format(microseconds), "last_sent_at": lastSentAt,
		"batches_sent": w.batchesSent, "events_sent": w.eventsSent, "last_error": w.lastError,
	}
}

// wireEvents are the names that webhooks may subscribe to, in Mandrill's order.
var wireEvents = []string{
	"send", "deferral", "hard_bounce", "soft_bounce", "delivered", "open", "click", "spam", "unsub", "reject",
	"blacklist", "whitelist",
}

func (s *Server) checkEvents(events []string) *apiError {
	for _, event := range events {
		if !slices.Contains(wireEvents, event) || slices.Contains(s.options.RefuseEvents, event) {
			return invalid("events", "Please enter a valid event: "+event)
		}
	}
	return nil
}

// ordered returns the known events without repetition, in Mandrill's order rather than the caller's.
func ordered(events []string) []string {
	list := []string{}
	for _, event := range wireEvents {
		if slices.Contains(events, event) {
			list = append(list, event)
		}
	}
	return list
}

// accepted returns the events that a write stores, which are all except those that are dropped silently.
func (s *Server) accepted(events []string) []string {
	return slices.DeleteFunc(ordered(events), func(event string) bool { return slices.Contains(s.options.DropEvents, event) })
}

func descriptionOf(args arguments) *string {
	if description, ok := args["description"].(string); ok {
		return &description
	}
	return nil
}

func listWebhooks(_ context.Context, a *Account, _ arguments) (any, error) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	list := make([]any, 0, len(a.webhooks))
	for _, w := range a.webhooks {
		list = append(list, w.json())
	}
	return list, nil
}

func addWebhook(ctx context.Context, a *Account, args arguments) (any, error) {
	if err := a.server.checkWebhook(ctx, args); err != nil {
		return nil, err
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	a.server.nextID++
	w := &webhook{
		id: a.server.nextID, url: args.string("url"), description: descriptionOf(args), key: a.server.newSigningKey(),
		events: a.server.accepted(args.strings("events")), createdAt: a.server.clock.now(),
	}
	a.webhooks = append(a.webhooks, w)
	return w.json(), nil
}

// checkWebhook validates the arguments and probes the URL. The caller must not hold the mutex: the probed server may call
// the API.
func (s *Server) checkWebhook(ctx context.Context, args arguments) error {
	if err := s.checkEvents(args.strings("events")); err != nil {
		return err
	}
	if err := s.probe(ctx, args.string("url")); err != nil {
		return err
	}
	return nil
}

func infoWebhook(_ context.Context, a *Account, args arguments) (any, error) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	w, err := a.webhook(args.int("id"))
	if err != nil {
		return nil, err
	}
	return w.json(), nil
}

func updateWebhook(ctx context.Context, a *Account, args arguments) (any, error) {
	if _, err := infoWebhook(ctx, a, args); err != nil {
		return nil, err
	}
	if err := a.server.checkWebhook(ctx, args); err != nil {
		return nil, err
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	w, err := a.webhook(args.int("id"))
	if err != nil {
		return nil, err
	}
	w.url, w.description, w.failures = args.string("url"), descriptionOf(args), 0
	w.events = a.server.accepted(args.strings("events"))
	return w.json(), nil
}

func deleteWebhook(_ context.Context, a *Account, args arguments) (any, error) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	w, err := a.webhook(args.int("id"))
	if err != nil {
		return nil, err
	}
	a.webhooks = slices.DeleteFunc(a.webhooks, func(other *webhook) bool { return other == w })
	return w.json(), nil
}

func (a *Account) webhook(id int64) (*webhook, error) {
	for _, w := range a.webhooks {
		if w.id == id {
			return w, nil
		}
	}
	return nil, newError(http.StatusNotFound, 3, "Unknown_Webhook", "No webhook exists with that id")
}

// Webhooks returns the account's webhooks as the API lists them.
func (a *Account) Webhooks() []mandrill.Webhook {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	list := make([]mandrill.Webhook, 0, len(a.webhooks))
	for _, w := range a.webhooks {
		list = append(list, w.snapshot())
	}
	return list
}

func (w *webhook) snapshot() mandrill.Webhook {
	snapshot := mandrill.Webhook{
		ID: w.id, URL: w.url, AuthKey: w.key, Events: slices.Clone(w.events), CreatedAt: mandrill.Time{Time: w.createdAt},
		LastSentAt: mandrill.Time{Time: w.lastSentAt}, BatchesSent: w.batchesSent, EventsSent: w.eventsSent,
	}
	if w.description != nil {
		snapshot.Description = *w.description
	}
	if w.lastError != nil {
		snapshot.LastError = *w.lastError
	}
	return snapshot
}

// ResetKey gives a webhook a new signing key, as its owner can in Mandrill's web interface, and returns it.
func (a *Account) ResetKey(id int64) (string, error) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	w, err := a.webhook(id)
	if err != nil {
		return "", err
	}
	w.key = a.server.newSigningKey()
	return w.key, nil
}

// Edit changes a webhook as its owner can in the web interface, without a probe. It reports whether the webhook exists.
func (a *Account) Edit(id int64, edit func(*mandrill.WebhookSpec)) bool {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	w, err := a.webhook(id)
	if err != nil {
		return false
	}
	snapshot := w.snapshot()
	spec := mandrill.WebhookSpec{URL: w.url, Description: snapshot.Description, Events: snapshot.Events}
	edit(&spec)
	w.url, w.description, w.events = spec.URL, &spec.Description, ordered(spec.Events)
	return true
}
