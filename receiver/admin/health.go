package admin

import (
	"context"
	"net/http"
)

// HealthHandler serves metrics, liveness and readiness. The receiver is ready when it has routes, can accept batches and is
// not about to stop.
func HealthHandler(metrics http.Handler, ready func(context.Context) bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if !ready(r.Context()) {
			http.Error(w, "no routes have been loaded yet, the buffer cannot be written, or the receiver is about to stop", http.StatusServiceUnavailable)
		}
	})
	return mux
}
