package recent

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/sse"
)

const (
	// defaultLimit and maxLimit are how many events a request gets.
	defaultLimit = 100
	maxLimit     = size
	// keepAlive is how often a stream without events shows that it lives.
	keepAlive = 15 * time.Second
)

// Page is the answer with recent events, the oldest first.
type Page struct {
	Events []Event `json:"events"`
}

// Handler serves recent events at /events and those that come at /events/stream, as server-sent events: a message has an event as
// JSON, or, with the event name "skipped", the number of events that the client was too slow for. It must not be reachable for others
// than administrators.
func Handler(ring *Ring) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		filter, limit, err := ParseQuery(r.URL.Query(), defaultLimit)
		if err != nil {
			answerJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
		page := Page{Events: ring.Recent(filter, limit)}
		if page.Events == nil {
			page.Events = []Event{}
		}
		answerJSON(w, http.StatusOK, page)
	})
	mux.HandleFunc("GET /events/stream", func(w http.ResponseWriter, r *http.Request) {
		filter, limit, err := ParseQuery(r.URL.Query(), 0)
		if err != nil {
			answerJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
		serveStream(w, r, ring, filter, limit)
	})
	return mux
}

func answerJSON(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // the client may have gone
}

// ParseQuery reads a filter and a limit from a query.
func ParseQuery(query url.Values, limit int) (filter Filter, _ int, err error) {
	for name, values := range query {
		value := values[0]
		switch name {
		case "webhook":
			filter.Webhook = value
		case "type":
			filter.Type = value
		case "outcome":
			filter.Outcome = value
		case "id":
			filter.ID = value
		case "failed":
			filter.Failed, err = strconv.ParseBool(value)
		case "payload":
			filter.Payload, err = strconv.ParseBool(value)
		case "limit":
			if limit, err = strconv.Atoi(value); err == nil && (limit < 0 || limit > maxLimit) {
				err = fmt.Errorf("limit must be a number from 0 to %d", maxLimit)
			}
		default:
			err = errors.New("the query may have webhook, type, outcome, id, failed, payload and limit")
		}
		if numError := new(strconv.NumError); errors.As(err, &numError) {
			err = fmt.Errorf("%s cannot be %q", name, value)
		}
		if err != nil {
			return filter, 0, err
		}
	}
	return filter, limit, nil
}

// serveStream writes events until the client goes or the ring closes.
func serveStream(w http.ResponseWriter, r *http.Request, ring *Ring, filter Filter, limit int) {
	stream := sse.NewStream(w)
	past, follower := ring.Follow(filter, limit)
	defer follower.Stop()
	send := func(events []Event, skipped uint64) error {
		for i := range events {
			if err := stream.Send("", events[i]); err != nil {
				return err
			}
		}
		if skipped > 0 {
			if err := stream.Send("skipped", skipped); err != nil {
				return err
			}
		}
		return stream.Flush()
	}
	_ = follower.Run(r.Context(), past, send, stream.KeepAlive) // the client may have gone
}
