package receiver

import (
	"errors"
	"net/http"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

var (
	errSignature = &Error{KindSignature, errors.New("the signature matches no key of the routes at this path")}
	errSuspended = &Error{KindNotReady, errors.New("the route is suspended")}
	errNoBuffer  = &Error{KindNotReady, errors.New("the route's delivery.mode is Buffered, and the receiver has no --buffer")}
	errNoKey     = &Error{KindNotReady, errors.New("the route has no signing key yet")}
)

// verify returns the route with a key that made the signature over its registered URL, whatever URL the request shows. The
// key that everybody knows is valid for an empty batch only.
func (h *Handler) verify(header http.Header, accepted request) (*routing.Route, error) {
	signature, form := header.Get(mandrill.SignatureHeader), accepted.form
	keyless := false
	for _, route := range accepted.candidates {
		valid, test := h.verifyRoute(signature, route, accepted)
		switch {
		case valid && route.Suspend:
			return route, errSuspended
		case valid, test && mandrill.EmptyBatch(form.Get(mandrill.EventsField)):
			return route, nil
		case test:
			return route, errSignature
		}
		keyless = keyless || len(route.Keys) == 0
	}
	if keyless {
		return nil, errNoKey
	}
	return nil, errSignature
}

// verifyRoute reports whether a key of a route, or the key that everybody knows, made the signature. Of a large body it takes
// a turn for each route, so that a body that many routes may be meant for does not hold up others.
func (h *Handler) verifyRoute(signature string, route *routing.Route, accepted request) (valid, test bool) {
	defer h.parsing.acquire(accepted.bytes)()
	if mandrill.Verify(signature, route.URL, accepted.form, route.Keys...) {
		return true, false
	}
	// Mandrill signs its probe with that key, which is small.
	return false, accepted.bytes <= smallBody && mandrill.Verify(signature, route.URL, accepted.form, mandrill.TestKey)
}
