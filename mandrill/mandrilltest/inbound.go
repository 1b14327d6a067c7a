package mandrilltest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/mail"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

type domain struct {
	name      string
	createdAt time.Time
	validMX   bool
	routes    []*route
}

type route struct{ id, pattern, url string }

func (d *domain) json() map[string]any {
	return map[string]any{"domain": d.name, "created_at": d.createdAt.UTC().Format(time.DateTime), "valid_mx": d.validMX}
}

func (r *route) json() map[string]any {
	return map[string]any{"id": r.id, "pattern": r.pattern, "url": r.url}
}

// Routes returns the inbound routes of a domain as the API lists them, or nil if there is no such domain.
func (a *Account) Routes(name string) []mandrill.InboundRoute {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	d, err := a.domain(name)
	if err != nil {
		return nil
	}
	list := []mandrill.InboundRoute{}
	for _, r := range d.routes {
		list = append(list, mandrill.InboundRoute{ID: r.id, Pattern: r.pattern, URL: r.url})
	}
	return list
}

// SetValidMX sets the outcome of the next check of the domain's MX records. It reports whether the domain exists.
func (a *Account) SetValidMX(name string, valid bool) bool {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	d, err := a.domain(name)
	if err != nil {
		return false
	}
	d.validMX = valid
	return true
}

func (a *Account) domain(name string) (*domain, error) {
	for _, d := range a.domains {
		if d.name == strings.ToLower(name) {
			return d, nil
		}
	}
	return nil, newError(http.StatusNotFound, 8, "Unknown_InboundDomain", fmt.Sprintf("No inbound domain exists with name %q", name))
}

func (a *Account) route(id string) (*domain, *route, error) {
	for _, d := range a.domains {
		for _, r := range d.routes {
			if r.id == id {
				return d, r, nil
			}
		}
	}
	return nil, nil, newError(http.StatusNotFound, 22, "Unknown_InboundRoute", "No inbound route exists with that id")
}

func listDomains(_ context.Context, a *Account, _ arguments) (any, error) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	list := make([]any, 0, len(a.domains))
	for _, d := range a.domains {
		list = append(list, d.json())
	}
	return list, nil
}

func addDomain(_ context.Context, a *Account, args arguments) (any, error) {
	name := strings.ToLower(args.string("domain"))
	if !strings.Contains(name, ".") || strings.ContainsAny(name, " @/") {
		return nil, invalid("domain", "Please enter a domain name")
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	if d, err := a.domain(name); err == nil {
		return d.json(), nil
	}
	d := &domain{name: name, createdAt: a.server.clock.now(), validMX: a.server.options.ValidMX}
	a.domains = append(a.domains, d)
	return d.json(), nil
}

func checkDomain(_ context.Context, a *Account, args arguments) (any, error) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	d, err := a.domain(args.string("domain"))
	if err != nil {
		return nil, err
	}
	return d.json(), nil
}

func deleteDomain(_ context.Context, a *Account, args arguments) (any, error) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	d, err := a.domain(args.string("domain"))
	if err != nil {
		return nil, err
	}
	a.domains = slices.DeleteFunc(a.domains, func(other *domain) bool { return other == d })
	return d.json(), nil
}

func listRoutes(_ context.Context, a *Account, args arguments) (any, error) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	d, err := a.domain(args.string("domain"))
	if err != nil {
		return nil, err
	}
	list := make([]any, 0, len(d.routes))
	for _, r := range d.routes {
		list = append(list, r.json())
	}
	return list, nil
}

func addRoute(ctx context.Context, a *Account, args arguments) (any, error) {
	if _, err := listRoutes(ctx, a, args); err != nil {
		return nil, err
	}
	if err := a.server.probe(ctx, args.string("url")); err != nil {
		return nil, err
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	d, err := a.domain(args.string("domain"))
	if err != nil {
		return nil, err
	}
	a.server.nextID++
	r := &route{id: fmt.Sprintf("%d.%d", len(a.domains), a.server.nextID), pattern: args.string("pattern"), url: args.string("url")}
	d.routes = append(d.routes, r)
	return r.json(), nil
}

func updateRoute(ctx context.Context, a *Account, args arguments) (any, error) {
	if url := args.string("url"); url != "" {
		if err := a.server.probe(ctx, url); err != nil {
			return nil, err
		}
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	_, r, err := a.route(args.string("id"))
	if err != nil {
		return nil, err
	}
	if url := args.string("url"); url != "" {
		r.url = url
	}
	if pattern := args.string("pattern"); pattern != "" {
		r.pattern = pattern
	}
	return r.json(), nil
}

func deleteRoute(_ context.Context, a *Account, args arguments) (any, error) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	d, r, err := a.route(args.string("id"))
	if err != nil {
		return nil, err
	}
	d.routes = slices.DeleteFunc(d.routes, func(other *route) bool { return other == r })
	return r.json(), nil
}

// sendRaw posts an inbound event to the route of each recipient that matches one.
func sendRaw(_ context.Context, a *Account, args arguments) (any, error) {
	raw := args.string("raw_message")
	message, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		return nil, invalid("raw_message", "Please enter a MIME message")
	}
	recipients := args.strings("to")
	if recipients == nil {
		if list, err := message.Header.AddressList("To"); err == nil {
			for _, address := range list {
				recipients = append(recipients, address.Address)
			}
		}
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	var matches []any // null when nothing matched, as the API documents
	for _, recipient := range recipients {
		r := a.routeFor(recipient)
		if r == nil {
			continue
		}
		matches = append(matches, map[string]any{"email": recipient, "pattern": r.pattern, "url": r.url})
		a.enqueue(r.url, nil, inboundEvent(message, raw, recipient, args.string("mail_from"), a.server.clock.now())) //nolint:contextcheck // senders live as long as the server
	}
	return matches, nil
}

// routeFor returns the first route whose pattern matches the mailbox. In patterns * matches anything.
func (a *Account) routeFor(recipient string) *route {
	mailbox, host, ok := strings.Cut(recipient, "@")
	if !ok {
		return nil
	}
	d, err := a.domain(host)
	if err != nil {
		return nil
	}
	for _, r := range d.routes {
		if matched, err := path.Match(r.pattern, mailbox); err == nil && matched {
			return r
		}
	}
	return nil
}

// inboundEvent returns the event for a message. It supports headers and a plain text body.
func inboundEvent(message *mail.Message, raw, recipient, mailFrom string, now time.Time) []byte {
	headers := map[string]any{}
	for name, values := range message.Header {
		if headers[name] = any(values); len(values) == 1 {
			headers[name] = values[0]
		}
	}
	from, err := mail.ParseAddress(message.Header.Get("From"))
	if err != nil {
		from = &mail.Address{Address: mailFrom}
	}
	body := raw[strings.Index(raw+"\n\n", "\n\n"):]
	event, err := json.Marshal(map[string]any{
		"event": "inbound", "ts": now.Unix(),
		"msg": map[string]any{
			"raw_msg": raw, "headers": headers, "text": strings.TrimPrefix(body, "\n\n"), "text_flowed": false,
			"from_email": from.Address, "from_name": from.Name, "to": [][]any{{recipient, nil}}, "email": recipient,
			"subject": message.Header.Get("Subject"), "tags": []string{}, "sender": nil, "template": nil,
			"spam_report": map[string]any{"score": 0, "matched_rules": []string{}},
			"spf":         map[string]any{"result": "none", "detail": ""},
			"dkim":        map[string]any{"signed": false, "valid": false},
		},
	})
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return phpJSON(event)
}
