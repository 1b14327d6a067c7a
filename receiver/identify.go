package receiver

import (
	"net/http"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// maxNonce bounds a nonce.
const maxNonce = 64

// identify answers HEAD and GET with the object of the route whose key has signed the nonce of the request, so that somebody who has the
// key can tell this receiver from another server, and its answer from one that a cache has kept. Others learn nothing.
func identify(answer, asked http.Header, candidates []*routing.Route) {
	nonce, signature := asked.Get(routes.NonceHeader), asked.Get(mandrill.SignatureHeader)
	if nonce == "" || len(nonce) > maxNonce || signature == "" {
		return
	}
	for _, route := range candidates[:min(len(candidates), maxCandidates)] {
		if route.Object != "" && mandrill.Verify(signature, route.URL, mandrill.NonceForm(nonce), route.Keys...) {
			answer.Set(routes.ObjectHeader, route.Object)
			answer.Set(routes.NonceHeader, nonce)
			return
		}
	}
}
