package receiver

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// healthMaxAge is how long the answer at the health path is used again: everybody can ask, and asking the buffer is work.
const healthMaxAge = time.Second

// HealthPath answers load balancers, which probe the port that they send requests to. GET and HEAD of the path get 200 when the
// receiver can accept batches, else 503, without a cause: the port is public. A route with the same path goes first. All fields
// except Now are required.
type HealthPath struct {
	Path   string
	Routes *routing.Routes
	Ready  func(context.Context) error
	Next   http.Handler     // for other requests
	Now    func() time.Time // default time.Now

	asking  sync.Mutex // held while Ready is asked
	askedAt time.Time  // guarded by asking
	healthy atomic.Bool
}

// ServeHTTP answers at the path, and leaves other requests to Next.
func (h *HealthPath) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	probe := r.URL.Path == h.Path && (r.Method == http.MethodGet || r.Method == http.MethodHead)
	if !probe || len(h.Routes.Match(r)) > 0 {
		h.Next.ServeHTTP(w, r)
		return
	}
	h.refresh(r.Context())
	w.Header().Set("Cache-Control", "no-store")
	if !h.healthy.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// refresh asks whether the receiver is ready, unless that is known or another request asks.
func (h *HealthPath) refresh(ctx context.Context) {
	if !h.asking.TryLock() {
		return
	}
	defer h.asking.Unlock()
	now := time.Now
	if h.Now != nil {
		now = h.Now
	}
	if at := now(); h.askedAt.IsZero() || at.Sub(h.askedAt) >= healthMaxAge {
		// A probe that gives up must not make the others fail.
		h.healthy.Store(h.Ready(context.WithoutCancel(ctx)) == nil)
		h.askedAt = at
	}
}
