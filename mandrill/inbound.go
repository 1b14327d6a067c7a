package mandrill

import "context"

// InboundDomain is a domain whose mail Mandrill may receive.
type InboundDomain struct {
	Domain    string `json:"domain"`
	CreatedAt Time   `json:"created_at"`
	ValidMX   bool   `json:"valid_mx"`
}

// InboundRoute posts mail for the addresses of a domain that match Pattern to URL. If there is a webhook at the same URL,
// its key signs the batches.
type InboundRoute struct {
	ID      string `json:"id"` // such as "88.214614"
	Pattern string `json:"pattern"`
	URL     string `json:"url"`
}

// InboundMatch is a recipient of a raw message, and the route that matched it.
type InboundMatch struct {
	Email   string `json:"email"`
	Pattern string `json:"pattern"`
	URL     string `json:"url"`
}

// RawMessage is a MIME message that Mandrill is to process as if it had arrived by SMTP. Empty fields are omitted.
type RawMessage struct {
	Message       string
	To            []string // default: the addresses in the message's To header
	MailFrom      string   // MailFrom, Helo and ClientAddress are needed for SPF
	Helo          string
	ClientAddress string
}

// InboundDomains lists the account's inbound domains. An element that is no domain, or whose name cannot be read, keeps its
// position in the list and has no name.
func (c *Client) InboundDomains(ctx context.Context) ([]InboundDomain, error) {
	return callElements[InboundDomain](ctx, c, "inbound/domains", nil)
}

// AddInboundDomain adds a domain.
func (c *Client) AddInboundDomain(ctx context.Context, domain string) (InboundDomain, error) {
	return call[InboundDomain](ctx, c, "inbound/add-domain", map[string]any{"domain": domain})
}

// CheckInboundDomain looks up the domain's MX records, or returns ErrUnknownInboundDomain.
func (c *Client) CheckInboundDomain(ctx context.Context, domain string) (InboundDomain, error) {
	return call[InboundDomain](ctx, c, "inbound/check-domain", map[string]any{"domain": domain})
}

// DeleteInboundDomain deletes a domain with its routes, or returns ErrUnknownInboundDomain.
func (c *Client) DeleteInboundDomain(ctx context.Context, domain string) (InboundDomain, error) {
	return call[InboundDomain](ctx, c, "inbound/delete-domain", map[string]any{"domain": domain})
}

// InboundRoutes lists a domain's routes, or returns ErrUnknownInboundDomain. An element that is no route, or whose ID cannot be
// read, keeps its position in the list and has no ID.
func (c *Client) InboundRoutes(ctx context.Context, domain string) ([]InboundRoute, error) {
	return callElements[InboundRoute](ctx, c, "inbound/routes", map[string]any{"domain": domain})
}

// AddInboundRoute adds a route. The URL is probed as by AddWebhook.
func (c *Client) AddInboundRoute(ctx context.Context, domain, pattern, url string) (InboundRoute, error) {
	return call[InboundRoute](ctx, c, "inbound/add-route", map[string]any{"domain": domain, "pattern": pattern, "url": url})
}

// UpdateInboundRoute replaces a route's pattern and URL, or returns ErrUnknownInboundRoute.
func (c *Client) UpdateInboundRoute(ctx context.Context, id, pattern, url string) (InboundRoute, error) {
	return call[InboundRoute](ctx, c, "inbound/update-route", map[string]any{"id": id, "pattern": pattern, "url": url})
}

// DeleteInboundRoute deletes a route, or returns ErrUnknownInboundRoute.
func (c *Client) DeleteInboundRoute(ctx context.Context, id string) (InboundRoute, error) {
	return call[InboundRoute](ctx, c, "inbound/delete-route", map[string]any{"id": id})
}

// SendRawInbound has Mandrill process a message as received, and returns the routes that matched, if any.
func (c *Client) SendRawInbound(ctx context.Context, message RawMessage) ([]InboundMatch, error) {
	arguments := map[string]any{"raw_message": message.Message}
	if message.To != nil {
		arguments["to"] = message.To
	}
	for field, value := range map[string]string{
		"mail_from": message.MailFrom, "helo": message.Helo, "client_address": message.ClientAddress,
	} {
		if value != "" {
			arguments[field] = value
		}
	}
	return call[[]InboundMatch](ctx, c, "inbound/send-raw", arguments)
}
