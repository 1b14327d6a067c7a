package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/erasure"
)

// Erasures takes orders to erase events from the buffer. [journal.Journal] implements it.
type Erasures interface {
	// OrderErasure leaves an order for the leader and returns its id.
	OrderErasure(ctx context.Context, request erasure.Request) (id string, err error)
	// ErasureResult returns what an order did, once; nil while it is not carried out.
	ErasureResult(ctx context.Context, id string) (*erasure.Result, error)
}

// ErasureAnswer has the id of an order, or its result when it is carried out.
type ErasureAnswer struct {
	ID     string          `json:"id,omitempty"`
	Result *erasure.Result `json:"result,omitempty"`
}

// orderErasure takes an order. Neither its log nor its answers have what the request names.
func (s *deadLetterServer) orderErasure(w http.ResponseWriter, r *http.Request) {
	var request erasure.Request
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxDeadLetterRequest))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil || decoder.More() { // the cause may quote
		s.fail(w, requestError{errors.New("the body must be JSON with recipient or message, and maybe webhook and dryRun")})
		return
	}
	if err := request.Check(); err != nil {
		s.fail(w, requestError{err})
		return
	}
	id, err := s.store.OrderErasure(r.Context(), request)
	if err != nil {
		s.fail(w, err)
		return
	}
	answerJSON(w, http.StatusAccepted, ErasureAnswer{ID: id})
}

func (s *deadLetterServer) showErasure(w http.ResponseWriter, r *http.Request) {
	result, err := s.store.ErasureResult(r.Context(), r.PathValue("id"))
	if err != nil {
		s.fail(w, err)
		return
	}
	answerJSON(w, http.StatusOK, ErasureAnswer{ID: r.PathValue("id"), Result: result})
}
