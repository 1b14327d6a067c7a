package admin

import (
	"context"
	"io"
	"net/http"
)

// HealthHandler serves metrics, liveness and readiness. Ready returns nil when the receiver can accept batches, and otherwise
// the cause, which /readyz answers. Note returns what administrators should know of a receiver that is ready, or nothing.
func HealthHandler(metrics http.Handler, ready func(context.Context) error, note func() string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		if text := note(); text != "" {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = io.WriteString(w, text+"\n")
		}
	})
	return mux
}
