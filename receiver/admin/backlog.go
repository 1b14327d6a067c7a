package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// Backlog gives access to the batches in the buffer that wait for delivery. [journal.Journal] implements it.
type Backlog interface {
	Backlog(ctx context.Context, webhook string, after *journal.Position, limit int) (page []journal.WaitingBatch, next *journal.Position, err error)
	Waiting(ctx context.Context, position journal.Position) (journal.WaitingBatch, []byte, error)
	Drop(ctx context.Context, positions []journal.Position) (journal.Removed, error)
	SetAside(ctx context.Context, positions []journal.Position) (journal.Removed, error)
}

// BacklogPage is a page of the backlog. The next page is requested with after=next; the last page has none.
type BacklogPage struct {
	Batches []journal.WaitingBatch `json:"batches"`
	Next    *journal.Position      `json:"next,omitempty"`
}

// BacklogRequest selects batches to drop or to set aside.
type BacklogRequest struct {
	Positions []journal.Position `json:"positions"`
}

// BacklogAnswer says what was done, and why not all.
type BacklogAnswer struct {
	journal.Removed
	Error string `json:"error,omitempty"`
}

// Check returns an error unless the request selects batches.
func (r *BacklogRequest) Check() error {
	switch {
	case len(r.Positions) == 0:
		return errors.New("nothing is selected: give positions")
	case len(r.Positions) > journal.MaxDeadLetters:
		return fmt.Errorf("a request may have up to %d positions", journal.MaxDeadLetters)
	}
	return nil
}

// NotWaitingError says that no batches wait at some positions.
type NotWaitingError struct{ Positions []journal.Position }

func (e NotWaitingError) Error() string {
	names := make([]string, len(e.Positions))
	for i, position := range e.Positions {
		names[i] = position.String()
	}
	return "nothing waits at " + strings.Join(names, ", ") + "; it may have been delivered, or replaced by its remainder"
}

// backlogServer serves the backlog.
type backlogServer struct {
	store  Backlog
	logger *slog.Logger
}

// BacklogHandler serves the backlog to administrators. It must not be reachable for others.
func BacklogHandler(store Backlog, logger *slog.Logger) http.Handler {
	s := &backlogServer{store, logger}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /backlog", s.list)
	mux.HandleFunc("GET /backlog/{position}", s.show)
	mux.HandleFunc("POST /backlog/drop", s.work("Dropped batches of the backlog", store.Drop))
	mux.HandleFunc("POST /backlog/set-aside", s.work("Set batches of the backlog aside", store.SetAside))
	return mux
}

func (s *backlogServer) list(w http.ResponseWriter, r *http.Request) {
	webhook, after, limit, err := parseBacklogQuery(r.URL.Query())
	if err != nil {
		s.fail(w, requestError{err})
		return
	}
	page := BacklogPage{}
	if page.Batches, page.Next, err = s.store.Backlog(r.Context(), webhook, after, limit); err != nil {
		s.fail(w, err)
		return
	}
	if page.Batches == nil {
		page.Batches = []journal.WaitingBatch{}
	}
	answerJSON(w, http.StatusOK, page)
}

func parseBacklogQuery(query url.Values) (webhook string, after *journal.Position, limit int, err error) {
	limit = journal.MaxDeadLetters
	for name, values := range query {
		value := values[0]
		switch name {
		case "webhook":
			webhook = value
		case "after":
			position, err := ParsePosition(value)
			if err != nil {
				return "", nil, 0, err
			}
			after = &position
		case "limit":
			if limit, err = strconv.Atoi(value); err != nil || limit < 1 || limit > journal.MaxDeadLetters {
				return "", nil, 0, fmt.Errorf("limit must be a number from 1 to %d", journal.MaxDeadLetters)
			}
		default:
			return "", nil, 0, errors.New("the query may have webhook, after and limit")
		}
	}
	return webhook, after, limit, nil
}

// ParsePosition reads a position such as batch:17 or remainder:4.
func ParsePosition(text string) (position journal.Position, err error) {
	if position.UnmarshalText([]byte(text)) != nil {
		return position, fmt.Errorf("%q is no position: want one that list shows, such as batch:17 or remainder:4", text)
	}
	return position, nil
}

func (s *backlogServer) show(w http.ResponseWriter, r *http.Request) {
	position, err := ParsePosition(r.PathValue("position"))
	if err != nil {
		s.fail(w, requestError{err})
		return
	}
	batch, events, err := s.store.Waiting(r.Context(), position)
	if errors.Is(err, journal.ErrNotFound) {
		err = NotWaitingError{Positions: []journal.Position{position}}
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := WriteWaiting(w, batch, events); err != nil {
		s.logger.Debug("The client disconnected while a batch was written", "position", position.String())
	}
}

// work returns the handler of a request to take batches out of the backlog.
func (s *backlogServer) work(message string, do func(context.Context, []journal.Position) (journal.Removed, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request BacklogRequest
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxDeadLetterRequest))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&request); err != nil || decoder.More() {
			s.fail(w, requestError{errors.New(`the body must be JSON such as {"positions": ["batch:17", "remainder:4"]}`)})
			return
		}
		if err := request.Check(); err != nil {
			s.fail(w, requestError{err})
			return
		}
		removed, err := do(r.Context(), request.Positions)
		if removed.Batches > 0 {
			s.logger.Info(message, "batches", removed.Batches, "events", removed.Events)
		}
		if err != nil {
			s.logger.Warn("Could not complete the work on the backlog", "error", err.Error())
			answerJSON(w, statusOf(err), BacklogAnswer{removed, err.Error()})
			return
		}
		answerJSON(w, http.StatusOK, BacklogAnswer{Removed: removed})
	}
}

func (s *backlogServer) fail(w http.ResponseWriter, err error) {
	status := statusOf(err)
	if status >= http.StatusInternalServerError {
		s.logger.Warn("Could not read the backlog", "error", err.Error())
	}
	answerJSON(w, status, map[string]string{"error": err.Error()})
}
