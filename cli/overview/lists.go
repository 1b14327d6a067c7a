package overview

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/page/site"
)

// maxChange bounds the body of a change, which a receiver bounds as well.
const maxChange = 64 << 10

// defaultPage and maxPage are how many dead letters or batches a request gets. A receiver answers with up to maxPage as well.
const (
	defaultPage = 100
	maxPage     = 500
)

// serveEvents answers with the recent events of all receivers, the oldest first. Those of an event can be in several: another receiver
// may have made the next attempt.
func (o *overview) serveEvents(w http.ResponseWriter, r *http.Request) {
	ctx, query, receivers := r.Context(), r.URL.Query(), o.options.Receivers()
	answers, errs := make([][]event, len(receivers)), make([]error, len(receivers))
	var asked sync.WaitGroup
	for i, receiver := range receivers {
		asked.Go(func() { answers[i], errs[i] = receiver.events(ctx, query) })
	}
	asked.Wait()
	found, problems := slices.Concat(answers...), []string{}
	for i, err := range errs {
		if err != nil {
			problems = append(problems, receivers[i].Name+": "+err.Error())
		}
	}
	slices.SortStableFunc(found, event.compare)
	answerJSON(w, http.StatusOK, map[string]any{"events": raws(found), "problems": problems})
}

// events asks for events. A receiver that does not show CloudEvents has the rest all the same.
func (r Receiver) events(ctx context.Context, query url.Values) ([]event, error) {
	answer, err := r.list(ctx, "/api/events", query)
	if refused := new(statusError); errors.As(err, &refused) && refused.status == http.StatusForbidden && query.Has("payload") {
		query = maps.Clone(query)
		query.Del("payload")
		answer, err = r.list(ctx, "/api/events", query)
	}
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(answer["events"], &list); err != nil {
		return nil, errors.New("its events cannot be read")
	}
	return newEvents(r.Name, list), nil
}

// event is a recent event with the name of its receiver.
type event struct {
	at  time.Time
	raw json.RawMessage
}

func (e event) compare(other event) int { return e.at.Compare(other.at) }

func newEvents(receiver string, list []json.RawMessage) []event {
	events := make([]event, 0, len(list))
	for _, raw := range list {
		var head struct {
			Time time.Time `json:"time"`
		}
		if json.Unmarshal(raw, &head) == nil {
			events = append(events, event{head.Time, named(raw, receiver)})
		}
	}
	return events
}

func raws(events []event) []json.RawMessage {
	list := make([]json.RawMessage, len(events))
	for i := range events {
		list[i] = events[i].raw
	}
	return list
}

// cursor is where a list goes on: in the buffer of a receiver, after what that one calls next.
type cursor struct{ receiver, after string }

func parseCursor(text string) (cursor, bool) {
	at := strings.LastIndex(text, "/")
	if text != "" && at < 0 {
		return cursor{}, false
	}
	return cursor{text[:max(at, 0)], text[at+1:]}, true
}

// serveList returns the handler of a list over all buffers, one after the other.
func (o *overview) serveList(path, field string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		from, ok := parseCursor(query.Get("after"))
		limit, err := strconv.Atoi(cmp.Or(query.Get("limit"), strconv.Itoa(defaultPage)))
		if !ok || err != nil || limit < 1 || limit > maxPage {
			site.Refuse(w, http.StatusBadRequest, "limit must be a number from 1 to 500, and after what another answer has as next")
			return
		}
		l := list{path: "/api/" + path, field: field, limit: limit, query: query, found: []json.RawMessage{}, problems: []string{}}
		l.read(r.Context(), withBuffers(o.options.Receivers()), from)
		answer := map[string]any{field: l.found, "problems": l.problems}
		if l.next != "" {
			answer["next"] = l.next
		}
		answerJSON(w, http.StatusOK, answer)
	}
}

// list is a page of a list over all buffers.
type list struct {
	path, field string
	query       url.Values
	limit       int
	found       []json.RawMessage
	problems    []string
	next        string
}

// read reads from buffers until the page is full.
func (l *list) read(ctx context.Context, buffers [][]Receiver, from cursor) {
	first := 0
	if from.receiver != "" {
		first = slices.IndexFunc(buffers, func(buffer []Receiver) bool {
			return slices.ContainsFunc(buffer, func(r Receiver) bool { return r.Name == from.receiver })
		})
		if first < 0 { // it is gone: those behind it are left
			from.after = ""
			first = slices.IndexFunc(buffers, func(buffer []Receiver) bool { return buffer[0].Name > from.receiver })
		}
		if first < 0 {
			return
		}
	}
	for _, buffer := range buffers[first:] {
		if len(l.found) == l.limit {
			l.next = buffer[0].Name + "/"
			return
		}
		if l.readBuffer(ctx, buffer, from.after); l.next != "" {
			return
		}
		from.after = ""
	}
}

// readBuffer reads from the first receiver of a buffer that answers.
func (l *list) readBuffer(ctx context.Context, buffer []Receiver, after string) {
	for _, receiver := range buffer {
		for len(l.found) < l.limit {
			next, err := l.readReceiver(ctx, receiver, after)
			if err != nil {
				l.problems = append(l.problems, receiver.Name+": "+err.Error())
				break
			}
			if next == "" {
				return
			}
			after = next
		}
		if len(l.found) == l.limit {
			l.next = receiver.Name + "/" + after
			return
		}
	}
}

func (l *list) readReceiver(ctx context.Context, receiver Receiver, after string) (next string, err error) {
	query := maps.Clone(l.query)
	query.Set("limit", strconv.Itoa(l.limit-len(l.found)))
	query.Del("after")
	if after != "" {
		query.Set("after", after)
	}
	answer, err := receiver.list(ctx, l.path, query)
	if err != nil {
		return "", err
	}
	var found []json.RawMessage
	if err := json.Unmarshal(answer[l.field], &found); err != nil {
		return "", errors.New("its answer cannot be read")
	}
	for _, each := range found {
		l.found = append(l.found, named(each, receiver.Name))
	}
	if next = strings.Trim(string(answer["next"]), `"`); next == "0" || next == "null" {
		next = ""
	}
	return next, nil
}

// serveChange passes a change on to the receiver that the query names, or to one with the same buffer.
func (o *overview) serveChange(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("receiver")
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxChange))
	found := holders(o.options.Receivers(), name)
	if err != nil || len(found) == 0 {
		site.Refuse(w, http.StatusBadRequest, "there is no receiver "+strconv.Quote(name)+": load the list again")
		return
	}
	at := max(0, slices.IndexFunc(found, func(r Receiver) bool { return r.Client != nil }))
	ctx, cancel := context.WithTimeout(r.Context(), changeTimeout)
	defer cancel()
	header := http.Header{"Content-Type": {"application/json"}, site.ScriptHeader: {"1"}}
	response, err := found[at].request(ctx, http.MethodPost, r.URL.Path, nil, header, bytes.NewReader(body))
	if err != nil {
		site.Refuse(w, http.StatusBadGateway, name+": "+err.Error()+"; load the list again to see what was done")
		return
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(response.Body, maxAnswer)) // the client may have gone
}
