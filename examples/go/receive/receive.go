// Package receive reads CloudEvents from HTTP requests in the three content modes.
package receive

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

// maxBody is the largest request that is read. An event of inbound mail with an attachment of 20 MB has more than 50 MB.
const maxBody = 64 << 20

// Handler calls process for each event of a request, in order. It answers 204 when all have been processed. When process fails it
// answers 503, and the receiver sends all events of the request again, also those that were processed.
//
// client.StartReceiver of the SDK does not do this: it does not read batches, and calls its function concurrently.
func Handler(process func(context.Context, event.Event) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		list, err := read(r)
		if err != nil {
			// Final: the receiver makes a dead letter of it.
			http.Error(w, "not a CloudEvent", http.StatusBadRequest)
			return
		}
		for _, ce := range list {
			if err := process(r.Context(), ce); err != nil {
				log.Printf("event %q of %q: %v", ce.ID(), ce.Type(), err)
				http.Error(w, "try again", http.StatusServiceUnavailable)
				return
			}
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// read returns the events of a request: one in Binary and Structured mode, a list in Batched mode.
func read(r *http.Request) ([]event.Event, error) {
	if strings.HasPrefix(r.Header.Get("Content-Type"), event.ApplicationCloudEventsBatchJSON) {
		return cehttp.NewEventsFromHTTPRequest(r)
	}
	one, err := cehttp.NewEventFromHTTPRequest(r)
	if err != nil {
		return nil, err
	}
	return []event.Event{*one}, nil
}

// Serve answers POST at any path with events, and GET with show. On SIGTERM it finishes the requests that it has, and returns.
func Serve(address string, events, show http.Handler) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	mux := http.NewServeMux()
	mux.Handle("POST /", events)
	mux.Handle("GET /", show)
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	finished := make(chan error, 1)
	go func() {
		<-ctx.Done()
		shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		finished <- server.Shutdown(shutdown)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-finished
}
