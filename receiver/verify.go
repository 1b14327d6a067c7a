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
// key that everybody knows is good for an empty batch and nothing else.
func (h *Handler) verify(header http.Header, accepted request) (*routing.Route, error) {
	defer h.parsing.acquire(accepted.bytes)()
	signature, form := header.Get(mandrill.SignatureHeader), accepted.form
	keyless := false
	for _, route := range accepted.candidates {
		if mandrill.Verify(signature, route.URL, form, route.Keys...) {
			if route.Suspend {
				return route, errSuspended
			}
			return route, nil
		}
		if mandrill.Verify(signature, route.URL, form, mandrill.TestKey) {
			if mandrill.EmptyBatch(form.Get(mandrill.EventsField)) {
				return route, nil
			}
			return route, errSignature
		}
		keyless = keyless || len(route.Keys) == 0
	}
	if keyless {
		return nil, errNoKey
	}
	return nil, errSignature
}
