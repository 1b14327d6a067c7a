package receiver

import (
	"cmp"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// Route is a route of the document, ready for use.
type Route struct {
	routes.Route
	user     *url.Userinfo // demanded of requests when not nil
	query    url.Values    // parameters demanded of requests
	delivery sink.Delivery // in Direct mode
	buffered sink.Delivery // in Buffered mode
}

// Table is a set of routes by path.
type Table struct {
	byPath    map[string][]*Route
	byWebhook map[string]*Route // where a webhook's events go: its route of this name, not those of its earlier URLs
	size      int
}

// NewTable prepares the routes of a document.
func NewTable(document *routes.Document) (*Table, error) {
	table := &Table{byPath: map[string][]*Route{}, byWebhook: map[string]*Route{}, size: len(document.Routes)}
	for _, entry := range document.Routes {
		registered, err := url.Parse(entry.URL)
		if err != nil {
			return nil, fmt.Errorf("route %q: url cannot be parsed", entry.Name) // the cause quotes the URL
		}
		route := &Route{Route: entry, user: registered.User, query: registered.Query()}
		if route.delivery, route.buffered, err = deliveryOf(entry); err != nil {
			return nil, fmt.Errorf("route %q: %w", entry.Name, err)
		}
		path := pathOf(registered)
		table.byPath[path] = append(table.byPath[path], route)
		if webhook := routes.Webhook(entry.Name); webhook == entry.Name || table.byWebhook[webhook] == nil {
			table.byWebhook[webhook] = route
		}
	}
	return table, nil
}

// deliveryOf prepares how a route's events are sent, in each mode.
func deliveryOf(route routes.Route) (direct, buffered sink.Delivery, err error) {
	said := route.Delivery
	timeout, backoff := defaultSinkTimeout, time.Duration(0)
	for name, value := range map[string]struct {
		text string
		into *time.Duration
	}{"timeout": {said.Timeout, &timeout}, "backoffDelay": {said.BackoffDelay, &backoff}} {
		if value.text == "" {
			continue
		}
		if *value.into, err = routes.ParseDuration(value.text); err != nil {
			return direct, buffered, fmt.Errorf("delivery.%s: %w", name, err)
		}
	}
	target := func(to routes.Sink) sink.Target {
		return sink.Target{URI: to.URI, CACerts: to.CACerts, Audience: to.Audience, Timeout: timeout}
	}
	direct = sink.Delivery{Target: target(route.Sink), Mode: sink.ContentMode(cmp.Or(said.ContentMode, string(sink.Binary)))}
	if said.DeadLetterSink != nil {
		deadLetter := target(*said.DeadLetterSink)
		direct.DeadLetter = &deadLetter
	}
	buffered = direct
	buffered.Retry = &sink.Retry{Max: routes.DefaultBufferedRetry, Linear: said.BackoffPolicy == routes.BackoffLinear, Backoff: backoff}
	if said.Retry != nil {
		buffered.Retry.Max = *said.Retry
		direct.Retry = buffered.Retry
	}
	return direct, buffered, nil
}

func pathOf(u *url.URL) string {
	if path := u.EscapedPath(); path != "" {
		return path
	}
	return "/"
}

// Match returns the routes for a request's path, which must be the registered one byte for byte. The host does not
// count, because a proxy may rewrite it: of several routes with one path the signature, made over the whole URL,
// tells which is meant.
func (t *Table) Match(r *http.Request) []*Route { return t.byPath[pathOf(r.URL)] }

// admits tells whether a request carries the userinfo and the query of the registered URL. It compares in
// constant time, because both may be secret.
func (r *Route) admits(request *http.Request) bool {
	if r.user != nil {
		user, password, _ := request.BasicAuth()
		wantPassword, _ := r.user.Password()
		if !equal(user, r.user.Username()) || !equal(password, wantPassword) {
			return false
		}
	}
	if len(r.query) == 0 {
		return true
	}
	given := request.URL.Query()
	for name, values := range r.query {
		if !equal(strings.Join(given[name], "\x00"), strings.Join(values, "\x00")) {
			return false
		}
	}
	return true
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// Routes holds the routes in use, which may come in several documents. Its zero value has none and is not ready.
type Routes struct {
	Logger  *slog.Logger
	Metrics *Metrics

	mu       sync.Mutex // guards what follows, but for reading current
	tables   map[string]*Table
	complete bool
	current  atomic.Pointer[[]*Table]
	changed  chan struct{} // closed when they change; nil while nobody waits
}

// Load replaces the routes of one document by those of its new content. Requests in flight finish on the old ones. A
// bad document changes nothing: it is logged and counted, and the error returned.
func (r *Routes) Load(name string, data []byte) error {
	start := time.Now()
	document, err := routes.Decode(data)
	var table *Table
	if err == nil {
		table, err = NewTable(document)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tables == nil {
		r.tables = map[string]*Table{}
	}
	if err != nil {
		if _, known := r.tables[name]; !known {
			r.tables[name] = nil // known, and not usable
		}
		r.Metrics.reloads.WithLabelValues("failed").Inc()
		r.Logger.Error("Refused a routes document, the last good one stays", "document", name, "error", err.Error())
		return err
	}
	r.tables[name] = table
	total := r.swap()
	r.Metrics.reloads.WithLabelValues("succeeded").Inc()
	r.Metrics.routes.Set(float64(total))
	r.Logger.Info("Loaded routes", "document", name, "routes", table.size, "duration", time.Since(start).String())
	return nil
}

// swap puts the tables to use and returns how many routes they have.
func (r *Routes) swap() int {
	list, total := make([]*Table, 0, len(r.tables)), 0
	for _, name := range slices.Sorted(maps.Keys(r.tables)) {
		if table := r.tables[name]; table != nil {
			list = append(list, table)
			total += table.size
		}
	}
	r.current.Store(&list)
	r.tell()
	return total
}

// tell wakes those who wait for a change.
func (r *Routes) tell() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// Changed returns what is closed when the routes change the next time, or all are known.
func (r *Routes) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.changed
}

// Webhook returns where the events of a webhook go now. Without a route it tells whether the webhook is gone, which it
// is not as long as some routes are not known.
func (r *Routes) Webhook(name string) (route *Route, gone bool) {
	if tables := r.current.Load(); tables != nil {
		for _, table := range *tables {
			if route := table.byWebhook[name]; route != nil {
				return route, false
			}
		}
	}
	return nil, r.Ready()
}

// Complete says that every document there is has been handed over once.
func (r *Routes) Complete() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.complete = true
	r.tell()
}

// Ready tells whether there are routes, and every document has been good once.
func (r *Routes) Ready() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, table := range r.tables {
		if table == nil {
			return false
		}
	}
	return r.complete && len(r.tables) > 0
}

func (r *Routes) match(request *http.Request) []*Route {
	tables := r.current.Load()
	if tables == nil {
		return nil
	}
	var found []*Route
	for _, table := range *tables {
		if matched := table.Match(request); found == nil {
			found = matched
		} else if matched != nil {
			found = slices.Concat(found, matched)
		}
	}
	return found
}
