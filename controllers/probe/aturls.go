package probe

import (
	"context"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

const (
	// elsewhereTimeout bounds the question who answers at a URL. The operator may not reach the URL at all.
	elsewhereTimeout = 3 * time.Second
	// elsewhereConfirm is how long another answer must last. Receivers take seconds to read a Secret: until then they answer for an
	// earlier object with the same name.
	elsewhereConfirm = time.Minute
	// elsewhereRecheck is how soon to ask again while another receiver answers.
	elsewhereRecheck = 5 * time.Minute
)

// AtURLs finds out whether the URLs of webhooks lead to receivers of other installations. It asks at the URLs themselves, each time by a
// new connection: the name may lead elsewhere by now.
type AtURLs struct {
	prober *Prober

	mu    sync.Mutex
	since map[string]time.Time // by object: when another one answered first
}

// NewAtURLs returns an AtURLs.
func NewAtURLs(options Options) *AtURLs {
	options.ReceiverURL = ""
	p := &Prober{options, bounded(withoutKeepAlive(guarded(options.Client, options.Resolver)))}
	p.options.Client = bounded(withoutKeepAlive(options.Client))
	return &AtURLs{prober: p, since: map[string]time.Time{}}
}

// Elsewhere reports whether the URL of a webhook leads to a receiver that has it from another object than the one given.
func (a *AtURLs) Elsewhere(ctx context.Context, webhook mandrill.Webhook, object string) bool {
	bounded, cancel := context.WithTimeout(ctx, elsewhereTimeout)
	defer cancel()
	served := a.prober.Object(bounded, webhook.URL, webhook.AuthKey)
	return served != "" && served != object
}

// Suspects reports whether another object answered for the given one when that was last asked.
func (a *AtURLs) Suspects(object string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, suspected := a.since[object]
	return suspected
}

// Confirm reports whether the URL leads elsewhere, and has for a while or was known to, and when to ask again, 0 for never.
func (a *AtURLs) Confirm(ctx context.Context, webhook mandrill.Webhook, object string, known bool, now time.Time) (elsewhere bool, again time.Duration) {
	found := a.Elsewhere(ctx, webhook, object)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !found {
		delete(a.since, object)
		return false, 0
	}
	since, suspected := a.since[object]
	if !suspected {
		since = now
		a.since[object] = now
	}
	if left := elsewhereConfirm - now.Sub(since); left > 0 && !known {
		return false, left
	}
	return true, elsewhereRecheck
}

// Forget forgets an object.
func (a *AtURLs) Forget(object string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.since, object)
}
