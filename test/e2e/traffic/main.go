// Traffic is both ends of the end-to-end tests, in one pod: it posts signed batches as Mandrill does, takes the CloudEvents that come of
// them, and compares. At -sink it accepts events, each path for itself. At -control:
//
//	POST /start   {"name": "one", "path": "/load", "target": "http://receiver", "url": "https://...", "key": "...", ...}: batches, until /stop
//	POST /stop    ?name=one: no more batches; those under way are posted until they are accepted
//	GET  /report  ?name=one: what was accepted and what has arrived
//	GET  /events  ?path=/load: number of events by type
//	POST /sink    {"closed": true}, {"status": 503}: what the sink does from now on
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"net/http"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	sinkAddress := flag.String("sink", ":8080", "address of the sink")
	controlAddress := flag.String("control", ":8081", "address of the controls")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	c := &control{ctx: ctx, sink: newSink(*sinkAddress), flows: map[string]*flow{}}
	if err := c.sink.open(ctx); err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: *controlAddress, Handler: c.routes(), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// control starts and stops flows of batches.
type control struct {
	ctx  context.Context //nolint:containedctx // flows outlive the requests that start them
	sink *sink

	mu    sync.Mutex
	flows map[string]*flow
}

func (c *control) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /start", c.start)
	mux.HandleFunc("POST /sink", c.setSink)
	mux.HandleFunc("POST /stop", c.withFlow(func(f *flow) any { f.stop(); return f.ledger.report(f) }))
	mux.HandleFunc("GET /report", c.withFlow(func(f *flow) any { return f.ledger.report(f) }))
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, c.sink.counts(r.FormValue("path"))) })
	return mux
}

func (c *control) start(w http.ResponseWriter, r *http.Request) {
	var settings settings
	if err := json.NewDecoder(r.Body).Decode(&settings); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f := newFlow(c.ctx, settings) //nolint:contextcheck // it outlives the request
	c.mu.Lock()
	if old := c.flows[settings.Name]; old != nil {
		old.cancel()
	}
	c.flows[settings.Name] = f
	c.mu.Unlock()
	c.sink.record(settings.Path, f.ledger)
	f.start()
	writeJSON(w, struct{}{})
}

func (c *control) setSink(w http.ResponseWriter, r *http.Request) {
	var want struct {
		Closed bool `json:"closed"`
		Status int  `json:"status"`
	}
	err := json.NewDecoder(r.Body).Decode(&want)
	if err == nil {
		err = c.sink.set(r.Context(), want.Closed, want.Status)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, struct{}{})
}

func (c *control) withFlow(do func(*flow) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		f := c.flows[r.FormValue("name")]
		c.mu.Unlock()
		if f == nil {
			http.Error(w, "there is no such flow", http.StatusNotFound)
			return
		}
		writeJSON(w, do(f))
	}
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the client sees a short answer
}
