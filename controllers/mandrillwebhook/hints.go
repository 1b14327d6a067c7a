package mandrillwebhook

import (
	"encoding/json"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Bounds of a hint: some 1,000 names, each of a namespace and an object.
const maxHintBytes = 1 << 20

// Hints serves receivers that tell which webhooks get batches with bad signatures, because their key may have been
// reset at Mandrill: their accounts are listed soon, though not more often than once a minute. Only the operator that
// works can do that; another says so, and the receiver asks again.
func (r *Reconciler) Hints(elected <-chan struct{}) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /signature-hints", func(w http.ResponseWriter, request *http.Request) {
		select {
		case <-elected:
		default:
			w.Header().Set("Connection", "close") // the next connection may lead to another operator
			http.Error(w, "this operator is not the one that works", http.StatusServiceUnavailable)
			return
		}
		var hint struct {
			Routes []string `json:"routes"`
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, request.Body, maxHintBytes)).Decode(&hint); err != nil {
			http.Error(w, `the body must be JSON of the form {"routes": ["namespace/name"]}`, http.StatusBadRequest)
			return
		}
		for _, route := range hint.Routes {
			if namespace, name, ok := strings.Cut(route, "/"); ok {
				r.accounts.PollSoon(types.NamespacedName{Namespace: namespace, Name: name})
			}
		}
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}
