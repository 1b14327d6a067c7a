package page

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/delivery"
	"github.com/mandrill-operator/mandrill-operator/receiver/page/site"
	"github.com/mandrill-operator/mandrill-operator/receiver/recent"
)

// Options configures [New]. State, Recent and Ready are required.
type Options struct {
	State    *delivery.State
	Recent   *recent.Ring
	Ready    func(context.Context) error
	Admin    http.Handler // the admin socket's; nil without a buffer
	Receiver string       // name of the pod, or of the host
	Hosts    []string     // hosts in URLs of the page, apart from those of the loopback address
	Payloads bool         // show CloudEvents
	Logger   *slog.Logger
	Now      func() time.Time // default time.Now
}

// page serves the page and what its script asks for.
type page struct {
	options Options
	streams chan struct{} // one element for each
	states  stateCache
}

// New returns the handler of the page.
func New(options Options) http.Handler {
	if options.Now == nil {
		options.Now = time.Now
	}
	p := &page{options: options, streams: make(chan struct{}, site.MaxStreams)}
	mux := http.NewServeMux()
	mux.Handle("GET /", site.Files())
	mux.HandleFunc("GET /api/stream", p.serveStream)
	mux.Handle("GET /api/events", p.payloadsOnlyIf(hasPayload, http.StripPrefix("/api", recent.Handler(options.Recent))))
	if options.Admin != nil {
		inBuffer := http.StripPrefix("/api", options.Admin)
		mux.Handle("GET /api/dead-letters", inBuffer)
		mux.Handle("GET /api/dead-letters/{seq}", p.payloadsOnlyIf(always, inBuffer))
		mux.Handle("POST /api/dead-letters/redrive", inBuffer)
		mux.Handle("POST /api/dead-letters/purge", inBuffer)
		mux.Handle("GET /api/backlog", inBuffer)
	}
	return site.Guard(mux, options.Hosts, options.Logger)
}

func always(*http.Request) bool { return true }

func hasPayload(r *http.Request) bool { return r.URL.Query().Has("payload") }

// payloadsOnlyIf refuses requests that would show an event, unless that is switched on.
func (p *page) payloadsOnlyIf(shows func(*http.Request) bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.options.Payloads && shows(r) {
			site.Refuse(w, http.StatusForbidden, "this receiver does not show events: --page-payloads is not set")
			return
		}
		next.ServeHTTP(w, r)
	})
}
