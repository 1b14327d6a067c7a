package mandrill

import "context"

// Webhook is a webhook as the API returns it.
type Webhook struct {
	ID          int64    `json:"id"`
	URL         string   `json:"url"`
	Description string   `json:"description"` // null reads as ""
	AuthKey     string   `json:"auth_key"`    // the signing key: opaque text; null reads as ""
	Events      []string `json:"events"`      // wire names; empty when Mandrill has disabled the webhook
	CreatedAt   Time     `json:"created_at"`
	LastSentAt  Time     `json:"last_sent_at"`
	BatchesSent int64    `json:"batches_sent"`
	EventsSent  int64    `json:"events_sent"`
	LastError   string   `json:"last_error"` // may be outdated
	Unreadable  []string `json:"-"`          // fields with a value that could not be decoded, and that are empty here
}

// WebhookSpec is the part of a webhook that the caller sets. Every write sends all of it, because the API does not document
// what an omitted field means.
type WebhookSpec struct {
	URL         string
	Description string
	Events      []string // wire names, see WireName
}

func (s WebhookSpec) arguments() map[string]any {
	events := s.Events
	if events == nil {
		events = []string{}
	}
	return map[string]any{"url": s.URL, "description": s.Description, "events": events}
}

// Webhooks lists all webhooks of the account. The API has no paging. An element that is no webhook, or whose ID cannot be read,
// keeps its position in the list and has the ID 0.
func (c *Client) Webhooks(ctx context.Context) ([]Webhook, error) {
	return callElements[Webhook](ctx, c, "webhooks/list", nil)
}

// AddWebhook creates a webhook. Mandrill probes the URL first, and returns ErrValidation unless it answers 200.
func (c *Client) AddWebhook(ctx context.Context, spec WebhookSpec) (Webhook, error) {
	return call[Webhook](ctx, c, "webhooks/add", spec.arguments())
}

// Webhook returns one webhook, or ErrUnknownWebhook.
func (c *Client) Webhook(ctx context.Context, id int64) (Webhook, error) {
	return call[Webhook](ctx, c, "webhooks/info", map[string]any{"id": id})
}

// UpdateWebhook replaces a webhook's URL, description and events. Mandrill probes the URL as for AddWebhook. The signing
// key may change.
func (c *Client) UpdateWebhook(ctx context.Context, id int64, spec WebhookSpec) (Webhook, error) {
	arguments := spec.arguments()
	arguments["id"] = id
	return call[Webhook](ctx, c, "webhooks/update", arguments)
}

// DeleteWebhook deletes a webhook, or returns ErrUnknownWebhook.
func (c *Client) DeleteWebhook(ctx context.Context, id int64) (Webhook, error) {
	return call[Webhook](ctx, c, "webhooks/delete", map[string]any{"id": id})
}
