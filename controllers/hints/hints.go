// Package hints serves the reports of receivers that webhooks get batches with bad signatures.
package hints

import (
	"encoding/json"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// maxHintBytes bounds a hint. It has room for some 1,000 names of the form namespace/name.
const maxHintBytes = 1 << 20

// Handler serves the receivers' reports, and calls pollSoon for each webhook: its key may have been reset at Mandrill. Only the
// elected operator can look: another answers 503, and the receiver tries again.
func Handler(elected <-chan struct{}, pollSoon func(types.NamespacedName)) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /signature-hints", func(w http.ResponseWriter, request *http.Request) {
		select {
		case <-elected:
		default:
			w.Header().Set("Connection", "close") // the next connection may reach the elected operator
			http.Error(w, "this operator is not the leader", http.StatusServiceUnavailable)
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
				pollSoon(types.NamespacedName{Namespace: namespace, Name: name})
			}
		}
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}
