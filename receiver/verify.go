package receiver

import (
	"errors"
	"net/http"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

var errSignature = errors.New("no key of the route made this signature")

// verify checks the signature over the registered URL, whatever URL the request shows. The key that everybody
// knows vouches for an empty batch and nothing else.
func (r *Route) verify(header http.Header, form mandrill.Form) error {
	signature := header.Get(mandrill.SignatureHeader)
	if mandrill.Verify(signature, r.URL, form, r.Keys...) {
		return nil
	}
	if mandrill.Verify(signature, r.URL, form, mandrill.TestKey) {
		if events, err := mandrill.SplitBatch(form.Get(mandrill.EventsField)); err == nil && len(events) == 0 {
			return nil
		}
		return &Error{KindSignature, errSignature}
	}
	if len(r.Keys) == 0 {
		return refuse(KindNotReady, "the route has no signing key yet")
	}
	return &Error{KindSignature, errSignature}
}
