package routing

import (
	"cmp"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// Route is a route of the document, ready for use.
type Route struct {
	routes.Route
	Direct   sink.Delivery // how events are sent in Direct mode
	Buffered sink.Delivery // how events are sent in Buffered mode
	Mapping  mapping.Target

	user  *url.Userinfo // required of requests when not nil
	query url.Values    // parameters required of requests
	host  string        // in lower case, without a port
}

// defaultSinkTimeout bounds one request to a sink when the route does not say.
const defaultSinkTimeout = 10 * time.Second

// Table is a set of routes by path.
type Table struct {
	byPath    map[string]*pathRoutes
	byWebhook map[string]*Route // where a webhook's events go: its route of this name, not those of its earlier URLs
	near      nearIndex
	size      int
}

// pathRoutes are the routes of a path. There may be thousands, one for each host.
type pathRoutes struct {
	all    []*Route
	byHost map[string][]*Route // nil while there is one route
}

func (p *pathRoutes) add(route *Route) {
	p.all = append(p.all, route)
	if len(p.all) == 1 {
		return
	}
	if p.byHost == nil {
		p.byHost = map[string][]*Route{p.all[0].host: p.all[:1:1]}
	}
	p.byHost[route.host] = append(p.byHost[route.host], route)
}

// of returns the routes with a host.
func (p *pathRoutes) of(host string) []*Route {
	if p.byHost == nil && p.all[0].host == host {
		return p.all
	}
	return p.byHost[host]
}

// NewTable prepares the routes of a document.
func NewTable(document *routes.Document) (*Table, error) {
	table := &Table{byPath: map[string]*pathRoutes{}, byWebhook: map[string]*Route{}, size: len(document.Routes)}
	for _, entry := range document.Routes {
		registered, err := url.Parse(entry.URL)
		if err != nil {
			return nil, fmt.Errorf("route %q: url cannot be parsed", entry.Name) // the cause quotes the URL
		}
		route := &Route{Route: entry, user: registered.User, query: registered.Query(), host: hostOf(registered.Host), Mapping: mappingOf(entry)}
		if route.Direct, route.Buffered, err = deliveryOf(entry); err != nil {
			return nil, fmt.Errorf("route %q: %w", entry.Name, err)
		}
		path := cmp.Or(entry.Path, pathOf(registered))
		if table.byPath[path] == nil {
			table.byPath[path] = &pathRoutes{}
		}
		table.byPath[path].add(route)
		table.near.add(path, routes.Webhook(entry.Name))
		if webhook := routes.Webhook(entry.Name); webhook == entry.Name || table.byWebhook[webhook] == nil {
			table.byWebhook[webhook] = route
		}
	}
	return table, nil
}

// mappingOf prepares what a route's CloudEvents have in common.
func mappingOf(route routes.Route) mapping.Target {
	target := mapping.Target{
		Source: route.Source, Extensions: route.CEOverrides.Extensions, OmitSchema: route.Delivery.DataSchema == routes.SchemaOmit,
		Normalize: route.Delivery.Payload == routes.PayloadNormalized,
	}
	return target.Prepare()
}

// deliveryOf prepares how a route's events are sent, in each mode.
func deliveryOf(route routes.Route) (direct, buffered sink.Delivery, err error) {
	delivery := route.Delivery
	timeout, err := durationOr(delivery.Timeout, defaultSinkTimeout)
	if err != nil {
		return direct, buffered, fmt.Errorf("delivery.timeout: %w", err)
	}
	backoff, err := durationOr(delivery.BackoffDelay, 0)
	if err != nil {
		return direct, buffered, fmt.Errorf("delivery.backoffDelay: %w", err)
	}
	target := func(to routes.Sink) sink.Target {
		return sink.Target{URI: to.URI, CACerts: to.CACerts, Audience: to.Audience, HTTP2: to.AppProtocol == routes.ProtocolH2C, Timeout: timeout, Webhook: routes.Webhook(route.Name)}
	}
	direct = sink.Delivery{Target: target(route.Sink), Mode: sink.ContentMode(cmp.Or(delivery.ContentMode, string(sink.Binary)))}
	if delivery.DeadLetterSink != nil {
		deadLetter := target(*delivery.DeadLetterSink)
		direct.DeadLetter = &deadLetter
	}
	buffered = direct
	buffered.Retry = &sink.Retry{Max: routes.DefaultBufferedRetry, Linear: delivery.BackoffPolicy == routes.BackoffLinear, Backoff: backoff}
	if delivery.Retry != nil {
		buffered.Retry.Max = *delivery.Retry
		direct.Retry = buffered.Retry
	}
	return direct, buffered, nil
}

func durationOr(text string, otherwise time.Duration) (time.Duration, error) {
	if text == "" {
		return otherwise, nil
	}
	return routes.ParseDuration(text)
}

func pathOf(u *url.URL) string {
	if path := u.EscapedPath(); path != "" {
		return path
	}
	return "/"
}

// Match returns the routes for a request's path, which must be the one of the route byte for byte. The host does not count,
// because a proxy may rewrite it: the signature, made over the whole URL, decides between several routes with one path.
func (t *Table) Match(r *http.Request) []*Route {
	if found := t.byPath[pathOf(r.URL)]; found != nil {
		return found.all
	}
	return nil
}

// Lack is what a request lacks of the URL that it must be for.
type Lack int

// What a request may lack.
const (
	LacksNothing       Lack = iota
	LacksAuthorization      // it has no Authorization header, and the URL has userinfo
	LacksUserinfo           // its Authorization header is not the userinfo of the URL
	LacksQuery              // it has not the parameters of the URL's query
)

// Lacks returns what a request lacks of the userinfo and the query of the registered URL. It compares in constant time, because
// both may be secret.
func (r *Route) Lacks(request *http.Request) Lack {
	if r.user != nil {
		user, password, _ := request.BasicAuth()
		wantPassword, _ := r.user.Password()
		if request.Header.Get("Authorization") == "" {
			return LacksAuthorization
		}
		if !equal(user, r.user.Username()) || !equal(password, wantPassword) {
			return LacksUserinfo
		}
	}
	if len(r.query) == 0 {
		return LacksNothing
	}
	given := request.URL.Query()
	for name, values := range r.query {
		if !equal(strings.Join(given[name], "\x00"), strings.Join(values, "\x00")) {
			return LacksQuery
		}
	}
	return LacksNothing
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
