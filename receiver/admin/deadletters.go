package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// DeadLetters gives access to the dead letters in the buffer. [journal.Journal] implements it.
type DeadLetters interface {
	DeadLetters(ctx context.Context, filter journal.DeadLetterFilter, after uint64, limit int) (page []journal.DeadLetterInfo, next uint64, err error)
	DeadLetter(ctx context.Context, seq uint64) (journal.DeadLetterInfo, journal.PendingEvent, error)
	Redrive(ctx context.Context, selection journal.Selection) (journal.Progress, error)
	Purge(ctx context.Context, selection journal.Selection) (journal.Progress, error)
}

// DeadLetterPage is a page of dead letters. The next page is requested with after=next; next is 0 on the last page.
type DeadLetterPage struct {
	DeadLetters []journal.DeadLetterInfo `json:"deadLetters"`
	Next        uint64                   `json:"next"`
}

// DeadLetterRequest selects the dead letters to redrive or purge: those with some numbers, those of a webhook, or all. Of the
// latter two only those with Reason, unless it is empty.
type DeadLetterRequest struct {
	Seqs    []uint64 `json:"seqs,omitempty"`
	Webhook string   `json:"webhook,omitempty"`
	All     bool     `json:"all,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	// After and UpTo continue a request that was not completed: they are next and upTo of its answer.
	After uint64 `json:"after,omitempty"`
	UpTo  uint64 `json:"upTo,omitempty"`
}

// DeadLetterAnswer says how many were done, and why not all.
type DeadLetterAnswer struct {
	journal.Progress
	Error string `json:"error,omitempty"`
}

// ErrNothingSelected means that a request selects no dead letters.
var ErrNothingSelected = errors.New("nothing is selected: give seqs, webhook or all")

// Check returns an error unless the request selects dead letters in one way.
func (r *DeadLetterRequest) Check() error {
	switch {
	case len(r.Seqs) == 0 && r.Webhook == "" && !r.All:
		return ErrNothingSelected
	case len(r.Seqs) > 0 && (r.Webhook != "" || r.All || r.Reason != ""):
		return errors.New("seqs cannot be combined with webhook, all or reason")
	case r.Webhook != "" && r.All:
		return errors.New("webhook cannot be combined with all")
	}
	return CheckReason(r.Reason)
}

// CheckReason returns an error unless dead letters may have the reason, or it is empty.
func CheckReason(reason string) error {
	if reason != "" && !slices.Contains(journal.Reasons, reason) {
		return errors.New("reason must be one of " + strings.Join(journal.Reasons, ", "))
	}
	return nil
}

// Selection checks the request and returns what it selects.
func (r *DeadLetterRequest) Selection() (journal.Selection, error) {
	if err := r.Check(); err != nil {
		return journal.Selection{}, err
	}
	if len(r.Seqs) > journal.MaxDeadLetters {
		return journal.Selection{}, fmt.Errorf("a request may have up to %d seqs", journal.MaxDeadLetters)
	}
	filter := journal.DeadLetterFilter{Webhook: r.Webhook, Reason: r.Reason}
	return journal.Selection{Seqs: r.Seqs, Filter: filter, After: r.After, UpTo: r.UpTo}, nil
}

// maxDeadLetterRequest bounds the body of a request, which holds up to journal.MaxDeadLetters numbers.
const maxDeadLetterRequest = 64 << 10

// deadLetterServer serves the dead letters.
type deadLetterServer struct {
	store  DeadLetters
	logger *slog.Logger
}

// DeadLettersHandler serves the dead letters to administrators. It must not be reachable for others.
func DeadLettersHandler(store DeadLetters, logger *slog.Logger) http.Handler {
	s := &deadLetterServer{store, logger}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /dead-letters", s.list)
	mux.HandleFunc("GET /dead-letters/{seq}", s.show)
	mux.HandleFunc("POST /dead-letters/redrive", s.work("Redrove dead letters", store.Redrive))
	mux.HandleFunc("POST /dead-letters/purge", s.work("Purged dead letters", store.Purge))
	return mux
}

func (s *deadLetterServer) list(w http.ResponseWriter, r *http.Request) {
	filter, after, limit, err := parseListQuery(r.URL.Query())
	if err != nil {
		s.fail(w, requestError{err})
		return
	}
	page := DeadLetterPage{}
	if page.DeadLetters, page.Next, err = s.store.DeadLetters(r.Context(), filter, after, limit); err != nil {
		s.fail(w, err)
		return
	}
	if page.DeadLetters == nil {
		page.DeadLetters = []journal.DeadLetterInfo{}
	}
	answerJSON(w, http.StatusOK, page)
}

// parseListQuery parses the query of a list.
func parseListQuery(query url.Values) (filter journal.DeadLetterFilter, after uint64, limit int, err error) {
	limit = journal.MaxDeadLetters
	for name, values := range query {
		value := values[0]
		switch name {
		case "webhook":
			filter.Webhook = value
		case "reason":
			filter.Reason = value
		case "after":
			if after, err = strconv.ParseUint(value, 10, 64); err != nil {
				return filter, 0, 0, errors.New("after must be a number")
			}
		case "limit":
			if limit, err = strconv.Atoi(value); err != nil || limit < 1 || limit > journal.MaxDeadLetters {
				return filter, 0, 0, fmt.Errorf("limit must be a number from 1 to %d", journal.MaxDeadLetters)
			}
		default:
			return filter, 0, 0, errors.New("the query may have webhook, reason, after and limit")
		}
	}
	return filter, after, limit, CheckReason(filter.Reason)
}

func (s *deadLetterServer) show(w http.ResponseWriter, r *http.Request) {
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 64)
	if err != nil {
		s.fail(w, requestError{errors.New("want the number of a dead letter")})
		return
	}
	info, event, err := s.store.DeadLetter(r.Context(), seq)
	if errors.Is(err, journal.ErrNotFound) {
		err = DeadLettersNotFoundError{Seqs: []uint64{seq}}
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := WriteDeadLetter(w, info, event); err != nil {
		s.logger.Debug("The client disconnected while a dead letter was written", "seq", seq)
	}
}

// work returns the handler of a request to redrive or purge dead letters.
func (s *deadLetterServer) work(message string, do func(context.Context, journal.Selection) (journal.Progress, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request DeadLetterRequest
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxDeadLetterRequest))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&request); err != nil || decoder.More() {
			s.fail(w, requestError{errors.New(`the body must be JSON such as {"seqs": [1, 2]}, {"webhook": "shop/a"} or {"all": true}`)})
			return
		}
		selection, err := request.Selection()
		if err != nil {
			s.fail(w, requestError{err})
			return
		}
		progress, err := do(r.Context(), selection)
		if progress.Count > 0 {
			s.logger.Info(message, "events", progress.Count)
		}
		if err != nil {
			s.logger.Warn("Could not complete the work on dead letters", "error", err.Error())
			answerJSON(w, statusOf(err), DeadLetterAnswer{progress, err.Error()})
			return
		}
		answerJSON(w, http.StatusOK, DeadLetterAnswer{Progress: progress})
	}
}

// requestError is an error of a request that can never succeed.
type requestError struct{ error }

// DeadLettersNotFoundError says that there are no dead letters with these numbers.
type DeadLettersNotFoundError struct{ Seqs []uint64 }

func (e DeadLettersNotFoundError) Error() string {
	numbers := strings.Trim(fmt.Sprint(e.Seqs), "[]")
	return "there is no dead letter " + strings.ReplaceAll(numbers, " ", ", ") + "; it may have been redriven, purged, or evicted for newer ones"
}

func statusOf(err error) int {
	switch {
	case errors.As(err, new(requestError)):
		return http.StatusBadRequest
	case errors.As(err, new(DeadLettersNotFoundError)), errors.As(err, new(NotWaitingError)):
		return http.StatusNotFound
	case errors.Is(err, journal.ErrFull), errors.Is(err, journal.ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func (s *deadLetterServer) fail(w http.ResponseWriter, err error) {
	status := statusOf(err)
	if status >= http.StatusInternalServerError {
		s.logger.Warn("Could not read dead letters", "error", err.Error())
	}
	answerJSON(w, status, map[string]string{"error": err.Error()})
}

func answerJSON(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // the client may have gone
}
