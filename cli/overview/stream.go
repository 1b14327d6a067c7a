package overview

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/page/site"
	"github.com/mandrill-operator/mandrill-operator/receiver/sse"
)

const (
	// firstWait is how long a page waits for the past events of all receivers, so that they come sorted.
	firstWait = 2 * time.Second
	// maxPending bounds the events between two messages. A receiver sends up to site.MaxEvents in that time.
	maxPending = 20 * site.MaxEvents
)

// streamQuery is what the query of a stream may have.
var streamQuery = []string{"webhook", "type", "outcome", "failed"}

// Events is a message with events, the oldest first.
type Events struct {
	Events  []json.RawMessage `json:"events"`
	Reset   bool              `json:"reset,omitempty"`   // these are all: the page forgets the ones it has
	Omitted uint64            `json:"omitted,omitempty"` // events since the message before that are not in this one
}

// view follows all receivers for one page.
type view struct {
	overview *overview
	query    url.Values
	follows  sync.WaitGroup

	mu      sync.Mutex
	feeds   map[string]*feed
	pending []event
	omitted uint64
}

// serveStream sends the state and the events of all receivers as they come.
func (o *overview) serveStream(w http.ResponseWriter, r *http.Request) {
	select {
	case o.streams <- struct{}{}:
		defer func() { <-o.streams }()
	default:
		site.Refuse(w, http.StatusServiceUnavailable, "too many pages are open")
		return
	}
	for name := range r.URL.Query() {
		if !slices.Contains(streamQuery, name) {
			site.Refuse(w, http.StatusBadRequest, "the query may have webhook, type, outcome and failed")
			return
		}
	}
	ctx, cancel := context.WithCancel(r.Context())
	v := &view{overview: o, query: r.URL.Query(), feeds: map[string]*feed{}}
	defer v.follows.Wait()
	defer cancel()
	to := sse.NewStream(w)
	if to.Flush() == nil { // the browser knows at once that there is a stream
		v.send(ctx, to)
	}
}

// send sends until the browser goes.
func (v *view) send(ctx context.Context, to *sse.Stream) {
	ticks := time.NewTicker(site.EventInterval)
	defer ticks.Stop()
	v.follow(ctx)
	begun, reset, lastState := time.Now(), true, time.Time{}
	for {
		if !reset || v.complete() || time.Since(begun) > firstWait {
			message := v.take(reset)
			if reset || len(message.Events) > 0 || message.Omitted > 0 {
				if to.Send("events", message) != nil || to.Flush() != nil {
					return
				}
				reset = false
			}
		}
		if !reset && time.Since(lastState) >= site.StateInterval-site.EventInterval/2 {
			lastState = time.Now()
			v.follow(ctx)
			if to.Send("state", v.state()) != nil || to.Flush() != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// follow begins to follow receivers that are new, and forgets those that are gone.
func (v *view) follow(ctx context.Context) {
	receivers := v.overview.options.Receivers()
	v.mu.Lock()
	defer v.mu.Unlock()
	for name, f := range v.feeds {
		if !slices.ContainsFunc(receivers, func(r Receiver) bool { return r.Name == name }) {
			f.stop()
			delete(v.feeds, name)
		}
	}
	for _, receiver := range receivers {
		f := v.feeds[receiver.Name]
		if f == nil {
			following, cancel := context.WithCancel(ctx)
			f = &feed{view: v, name: receiver.Name, stop: cancel}
			v.feeds[receiver.Name] = f
			v.follows.Go(func() { f.run(following) })
		}
		f.receiver = receiver
	}
}

// complete reports whether each receiver has sent its past events, or has a problem.
func (v *view) complete() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range v.feeds {
		if !f.begun && f.problem == "" {
			return false
		}
	}
	return true
}

// take takes the events that came since the message before, of many the last ones.
func (v *view) take(reset bool) Events {
	v.mu.Lock()
	defer v.mu.Unlock()
	slices.SortStableFunc(v.pending, event.compare)
	if more := len(v.pending) - site.MaxEvents; more > 0 {
		v.pending = v.pending[more:]
		if !reset { // the page shows the last ones of the past
			v.omitted += uint64(more)
		}
	}
	message := Events{Events: raws(v.pending), Reset: reset, Omitted: v.omitted}
	v.pending, v.omitted = nil, 0
	return message
}

// add adds events that a receiver has sent.
func (v *view) add(events []event, omitted uint64) {
	v.pending = append(v.pending, events...)
	v.omitted += omitted
	if more := len(v.pending) - maxPending; more > 0 {
		v.pending, v.omitted = slices.Delete(v.pending, 0, more), v.omitted+uint64(more)
	}
}
