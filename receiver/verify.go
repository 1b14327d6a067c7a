package receiver

import (
	"errors"
	"net/http"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

var (
	errSignature = &Error{KindSignature, errors.New("no key of a route with this path made this signature")}
	errSuspended = &Error{KindNotReady, errors.New("the route is suspended")}
	errNoBuffer  = &Error{KindNotReady, errors.New("the route's delivery.mode is Buffered, and the receiver has no --buffer")}
	errNoKey     = &Error{KindNotReady, errors.New("the route has no signing key yet")}
)

// verify returns the route whose key made the signature over its registered URL, whatever URL the request shows.
// The key that everybody knows vouches for an empty batch and nothing else.
func verify(header http.Header, candidates []*Route, form mandrill.Form) (*Route, error) {
	signature := header.Get(mandrill.SignatureHeader)
	keyless := false
	for _, route := range candidates {
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
