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
	delivery sink.Delivery
}

// Table is a set of routes by path.
type Table struct {
	byPath map[string][]*Route
	size   int
}

// NewTable prepares the routes of a document.
func NewTable(document *routes.Document) (*Table, error) {
	table := &Table{byPath: map[string][]*Route{}, size: len(document.Routes)}
	for _, entry := range document.Routes {
		registered, err := url.Parse(entry.URL)
		if err != nil {
			return nil, fmt.Errorf("route %q: url cannot be parsed", entry.Name) // the cause quotes the URL
		}
		route := &Route{Route: entry, user: registered.User, query: registered.Query()}
		if route.delivery, err = deliveryOf(entry); err != nil {
			return nil, fmt.Errorf("route %q: %w", entry.Name, err)
		}
		path := pathOf(registered)
		table.byPath[path] = append(table.byPath[path], route)
	}
	return table, nil
}

// deliveryOf prepares how a route's events are sent.
func deliveryOf(route routes.Route) (sink.Delivery, error) {
	said := route.Delivery
	timeout, backoff := defaultSinkTimeout, time.Duration(0)
	for name, value := range map[string]struct {
		text string
		into *time.Duration
	}{"timeout": {said.Timeout, &timeout}, "backoffDelay": {said.BackoffDelay, &backoff}} {
		if value.text == "" {
			continue
		}
		var err error
		if *value.into, err = routes.ParseDuration(value.text); err != nil {
			return sink.Delivery{}, fmt.Errorf("delivery.%s: %w", name, err)
		}
	}
	target := func(to routes.Sink) sink.Target {
		return sink.Target{URI: to.URI, CACerts: to.CACerts, Audience: to.Audience, Timeout: timeout}
	}
	delivery := sink.Delivery{Target: target(route.Sink), Mode: sink.ContentMode(cmp.Or(said.ContentMode, string(sink.Binary)))}
	if said.Retry != nil {
		delivery.Retry = &sink.Retry{Max: *said.Retry, Linear: said.BackoffPolicy == routes.BackoffLinear, Backoff: backoff}
	}
	if said.DeadLetterSink != nil {
		deadLetter := target(*said.DeadLetterSink)
		delivery.DeadLetter = &deadLetter
	}
	return delivery, nil
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
	return total
}

// Complete says that every document there is has been handed over once.
func (r *Routes) Complete() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.complete = true
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
