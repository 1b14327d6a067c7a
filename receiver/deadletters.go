package receiver

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

// DeadLetters are those in the buffer. [journal.Journal] has them.
type DeadLetters interface {
	Letters(ctx context.Context, filter journal.LetterFilter, after uint64, limit int) (page []journal.Letter, next uint64, err error)
	Letter(ctx context.Context, seq uint64) (journal.Letter, journal.Entry, error)
	Redrive(ctx context.Context, selection journal.Selection) (journal.Done, error)
	Purge(ctx context.Context, selection journal.Selection) (journal.Done, error)
}

// LetterPage answers who asks for dead letters. What comes after it is asked for with after=next, unless that is 0.
type LetterPage struct {
	DeadLetters []journal.Letter `json:"deadLetters"`
	Next        uint64           `json:"next"`
}

// LetterRequest asks for work on dead letters: those with some numbers, those of a webhook, or all; of the latter two only
// those with a reason, if one is given.
type LetterRequest struct {
	Seqs    []uint64 `json:"seqs,omitempty"`
	Webhook string   `json:"webhook,omitempty"`
	All     bool     `json:"all,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	// After and UpTo go on with what was not all done at once: they are next and upTo of the answer.
	After uint64 `json:"after,omitempty"`
	UpTo  uint64 `json:"upTo,omitempty"`
}

// LetterAnswer says what was done, and why not all of it.
type LetterAnswer struct {
	journal.Done
	Error string `json:"error,omitempty"`
}

// Selection checks a request.
func (r *LetterRequest) Selection() (journal.Selection, error) {
	filter := journal.LetterFilter{Webhook: r.Webhook, Reason: r.Reason}
	selection := journal.Selection{Seqs: r.Seqs, Filter: filter, After: r.After, UpTo: r.UpTo}
	switch {
	case len(r.Seqs) == 0 && r.Webhook == "" && !r.All:
		return selection, errors.New("nothing is selected: give seqs, webhook or all")
	case len(r.Seqs) > 0 && (r.Webhook != "" || r.All || r.Reason != ""):
		return selection, errors.New("seqs select by themselves: leave webhook, all and reason away")
	case r.Webhook != "" && r.All:
		return selection, errors.New("give webhook or all, not both")
	case len(r.Seqs) > journal.MaxLetters:
		return selection, fmt.Errorf("give up to %d seqs at once", journal.MaxLetters)
	}
	return selection, checkFilter(filter)
}

func checkFilter(filter journal.LetterFilter) error {
	if filter.Reason != "" && !slices.Contains(journal.Reasons, filter.Reason) {
		return errors.New("reason must be one of " + strings.Join(journal.Reasons, ", "))
	}
	return nil
}

// maxLetterRequest bounds the body of a request: it has some numbers.
const maxLetterRequest = 64 << 10

// letterServer answers those who administer dead letters.
type letterServer struct {
	letters DeadLetters
	logger  *slog.Logger
}

// DeadLettersHandler serves dead letters to whoever administers the receiver; it must not be reachable for others.
func DeadLettersHandler(letters DeadLetters, logger *slog.Logger) http.Handler {
	s := &letterServer{letters, logger}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /dead-letters", s.list)
	mux.HandleFunc("GET /dead-letters/{seq}", s.show)
	mux.HandleFunc("POST /dead-letters/redrive", s.work("Redrove dead letters", letters.Redrive))
	mux.HandleFunc("POST /dead-letters/purge", s.work("Purged dead letters", letters.Purge))
	return mux
}

func (s *letterServer) list(w http.ResponseWriter, r *http.Request) {
	filter, after, limit, err := listed(r.URL.Query())
	if err != nil {
		s.fail(w, letterRequestError{err})
		return
	}
	page := LetterPage{}
	if page.DeadLetters, page.Next, err = s.letters.Letters(r.Context(), filter, after, limit); err != nil {
		s.fail(w, err)
		return
	}
	if page.DeadLetters == nil {
		page.DeadLetters = []journal.Letter{}
	}
	answerJSON(w, http.StatusOK, page)
}

// listed reads the query of a list.
func listed(query url.Values) (filter journal.LetterFilter, after uint64, limit int, err error) {
	limit = journal.MaxLetters
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
			if limit, err = strconv.Atoi(value); err != nil || limit < 1 || limit > journal.MaxLetters {
				return filter, 0, 0, fmt.Errorf("limit must be a number from 1 to %d", journal.MaxLetters)
			}
		default:
			return filter, 0, 0, errors.New("the query may have webhook, reason, after and limit")
		}
	}
	return filter, after, limit, checkFilter(filter)
}

func (s *letterServer) show(w http.ResponseWriter, r *http.Request) {
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 64)
	if err != nil {
		s.fail(w, letterRequestError{errors.New("the number of a dead letter is expected")})
		return
	}
	letter, entry, err := s.letters.Letter(r.Context(), seq)
	if errors.Is(err, journal.ErrNone) {
		err = NoLetterError{Seqs: []uint64{seq}}
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", contentJSON)
	if err := WriteLetter(w, letter, entry); err != nil {
		s.logger.Debug("The client went away while it was shown a dead letter", "seq", seq)
	}
}

// work answers a request to do something with dead letters.
func (s *letterServer) work(message string, do func(context.Context, journal.Selection) (journal.Done, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request LetterRequest
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxLetterRequest))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&request); err != nil || decoder.More() {
			s.fail(w, letterRequestError{errors.New(`the body must be JSON such as {"seqs": [1, 2]}, {"webhook": "shop/a"} or {"all": true}`)})
			return
		}
		selection, err := request.Selection()
		if err != nil {
			s.fail(w, letterRequestError{err})
			return
		}
		done, err := do(r.Context(), selection)
		if done.Count > 0 {
			s.logger.Info(message, "events", done.Count)
		}
		if err != nil {
			s.logger.Warn("Could not do all that was asked for with dead letters", "error", err.Error())
			answerJSON(w, letterStatus(err), LetterAnswer{done, err.Error()})
			return
		}
		answerJSON(w, http.StatusOK, LetterAnswer{Done: done})
	}
}

// letterRequestError is of a request that can never succeed.
type letterRequestError struct{ error }

// NoLetterError says that there are no dead letters with some numbers.
type NoLetterError struct{ Seqs []uint64 }

func (e NoLetterError) Error() string {
	numbers := strings.Trim(fmt.Sprint(e.Seqs), "[]")
	return "there is no dead letter " + strings.ReplaceAll(numbers, " ", ", ") + "; it may have been redriven, purged, or taken away for newer ones"
}

func letterStatus(err error) int {
	switch {
	case errors.As(err, new(letterRequestError)):
		return http.StatusBadRequest
	case errors.As(err, new(NoLetterError)):
		return http.StatusNotFound
	case errors.Is(err, journal.ErrFull), errors.Is(err, journal.ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func (s *letterServer) fail(w http.ResponseWriter, err error) {
	status := letterStatus(err)
	if status >= http.StatusInternalServerError {
		s.logger.Warn("Could not read dead letters", "error", err.Error())
	}
	answerJSON(w, status, map[string]string{"error": err.Error()})
}

func answerJSON(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", contentJSON)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // the client may have gone
}
