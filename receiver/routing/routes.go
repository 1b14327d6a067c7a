package routing

import (
	"fmt"
	"iter"
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
)

// Routes holds the routes in use, which may come in several documents. Its zero value has none and is not ready.
type Routes struct {
	Logger  *slog.Logger
	Metrics *Metrics
	// Observe is called with the webhooks of all routes before other routes are put in use; nil: nobody is. It must not block.
	Observe func(webhooks iter.Seq[string])

	mu       sync.Mutex // guards what follows, except reading current
	tables   map[string]*Table
	complete bool
	kept     map[string]bool // documents of LoadKept that the source has not replaced; nil: none were loaded
	current  atomic.Pointer[[]*Table]
	changed  chan struct{} // closed when they change; nil while nobody waits
}

// Load replaces the routes of a document by those of its new content. Requests in flight finish on the old ones. A bad
// document changes nothing: it is logged and counted, and its error is returned.
func (r *Routes) Load(name string, data []byte) error { return r.load(name, data, routes.Decode) }

func (r *Routes) load(name string, data []byte, decode func([]byte) (*routes.Document, error)) error {
	start := time.Now()
	document, err := decode(data)
	var table *Table
	if err == nil {
		table, err = NewTable(document)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tables == nil {
		r.tables = map[string]*Table{}
	}
	delete(r.kept, name) // the document exists; if it is bad, the kept one is the last good one
	if err != nil {
		if _, known := r.tables[name]; !known {
			r.tables[name] = nil // it exists and is not usable
		}
		r.Metrics.loads.WithLabelValues("failed").Inc()
		r.Logger.Error("Refused a routes document, the last good one stays", "document", name, "error", err.Error())
		return err
	}
	r.tables[name] = table
	total := r.swap()
	r.Metrics.loads.WithLabelValues("succeeded").Inc()
	r.Metrics.routes.Set(float64(total))
	r.Logger.Info("Loaded routes", "document", name, "routes", table.size, "durationSeconds", time.Since(start).Seconds())
	return nil
}

// LoadKept puts documents in use that were kept from an earlier run, until the source has replaced them or [Routes.Complete] was
// called. It reports whether it did: it changes nothing after Complete, or when a document is bad.
func (r *Routes) LoadKept(documents map[string][]byte) (used bool, err error) {
	tables := map[string]*Table{}
	for name, data := range documents {
		document, err := routes.Decode(data)
		if err == nil {
			tables[name], err = NewTable(document)
		}
		if err != nil {
			return false, fmt.Errorf("document %s: %w", name, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.complete {
		return false, nil
	}
	if r.tables == nil {
		r.tables = map[string]*Table{}
	}
	r.kept = map[string]bool{}
	for name, table := range tables {
		if _, loaded := r.tables[name]; !loaded {
			r.tables[name], r.kept[name] = table, true
		}
	}
	r.Metrics.routes.Set(float64(r.swap()))
	return true, nil
}

// swap puts the tables in use and returns how many routes they have.
func (r *Routes) swap() int {
	list, total := make([]*Table, 0, len(r.tables)), 0
	for _, name := range slices.Sorted(maps.Keys(r.tables)) {
		if table := r.tables[name]; table != nil {
			list = append(list, table)
			total += table.size
		}
	}
	if r.Observe != nil {
		r.Observe(webhooksOf(list))
	}
	r.current.Store(&list)
	r.notifyChanged()
	return total
}

// webhooksOf yields the webhooks of some tables, those that are in several of them more than once.
func webhooksOf(tables []*Table) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, table := range tables {
			for webhook := range table.byWebhook {
				if !yield(webhook) {
					return
				}
			}
		}
	}
}

// notifyChanged wakes those that wait for a change.
func (r *Routes) notifyChanged() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// Changed returns a channel that is closed when the routes change next, or are complete.
func (r *Routes) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.changed
}

// Webhook returns where the events of a webhook go now. Without a route it reports whether the webhook is deleted, which is
// unknown while some documents are not loaded, while kept ones are in use, and if there is no document at all: it may come back.
func (r *Routes) Webhook(name string) (route *Route, gone bool) {
	if tables := r.current.Load(); tables != nil {
		for _, table := range *tables {
			if route := table.byWebhook[name]; route != nil {
				return route, false
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return nil, r.complete && r.ready()
}

// Complete says that every document that exists was loaded once. Kept documents that do not exist any more are gone.
func (r *Routes) Complete() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.complete = true
	for name := range r.kept {
		delete(r.tables, name)
	}
	if r.kept != nil {
		r.kept = nil
		r.Metrics.routes.Set(float64(r.swap()))
	}
	r.notifyChanged()
}

// Confirmed reports whether the routes are all that the source has, so that a path without a route is unknown. They are if the
// source has no document, as before an operator has written one, and not while kept documents are in use.
func (r *Routes) Confirmed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.complete && (len(r.tables) == 0 || r.ready())
}

// Ready reports whether there are routes, and every document has been good once, in this run or in the one that kept it.
func (r *Routes) Ready() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ready()
}

// ready is Ready; the caller holds mu.
func (r *Routes) ready() bool {
	for _, table := range r.tables {
		if table == nil {
			return false
		}
	}
	return (r.complete || r.kept != nil) && len(r.tables) > 0
}

// maxMatches bounds the routes that a request may be for, except those with its host.
const maxMatches = 256

// Match returns the routes for a request's path, see [Table.Match]: first those with its host, then others, because a proxy may rewrite the
// host. The signature is checked in that order. Others are left out when there are 256, so that a request costs the same however many
// webhooks have a path.
func (r *Routes) Match(request *http.Request) []*Route {
	tables := r.current.Load()
	if tables == nil {
		return nil
	}
	path, total := pathOf(request.URL), 0
	var lists []*pathRoutes
	for _, table := range *tables {
		if found := table.byPath[path]; found != nil {
			lists = append(lists, found)
			total += len(found.all)
		}
	}
	if total == 0 {
		return nil
	}
	if total == 1 {
		return lists[0].all
	}
	return hostFirst(lists, hostOf(request.Host), min(total, maxMatches))
}

// hostFirst returns the routes with a host, and others as long as there are fewer than most.
func hostFirst(lists []*pathRoutes, host string, most int) []*Route {
	first := make([]*Route, 0, most)
	for _, list := range lists {
		first = append(first, list.of(host)...)
	}
	for _, list := range lists {
		for _, route := range list.all {
			if len(first) >= most {
				return first
			}
			if route.host != host {
				first = append(first, route)
			}
		}
	}
	return first
}

// hostOf returns a host without its port, in lower case.
func hostOf(hostport string) string {
	return strings.ToLower((&url.URL{Host: hostport}).Hostname())
}
