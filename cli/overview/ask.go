package overview

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// askTimeout bounds a request for a list, and changeTimeout a change: redriving takes a while when the buffer is slow.
	askTimeout    = 10 * time.Second
	changeTimeout = 2 * time.Minute
	// maxAnswer bounds an answer: a page of 500 dead letters is far smaller.
	maxAnswer = 4 << 20
)

// statusError is an answer of a receiver that is an error.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string {
	return cmp.Or(e.text, fmt.Sprintf("it answered with status %d", e.status))
}

// request makes a request to a receiver's page. The caller closes the body.
func (r Receiver) request(ctx context.Context, method, path string, query url.Values, header http.Header, body io.Reader) (*http.Response, error) {
	if r.Client == nil {
		return nil, errors.New(cmp.Or(r.Problem, "it cannot be reached"))
	}
	target := url.URL{Scheme: "http", Host: "127.0.0.1", Path: path, RawQuery: query.Encode()} // the client leads to the receiver
	request, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, err
	}
	request.Header = header
	response, err := r.Client.Do(request)
	if err != nil {
		return nil, reason(err)
	}
	return response, nil
}

// reason returns an error without the URL, which says nothing about the receiver.
func reason(err error) error {
	if urlErr := new(url.Error); errors.As(err, &urlErr) {
		err = urlErr.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("it did not answer in time")
	}
	return fmt.Errorf("it does not answer: %w", err)
}

// list asks for a JSON object.
func (r Receiver) list(ctx context.Context, path string, query url.Values) (answer map[string]json.RawMessage, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	response, err := r.request(ctx, http.MethodGet, path, query, http.Header{}, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	if response.StatusCode != http.StatusOK {
		return nil, errorOf(response)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("its answer cannot be read: %w", err)
	}
	return answer, nil
}

// errorOf returns the error in an answer.
func errorOf(response *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	var answer struct {
		Error string `json:"error"`
	}
	if err == nil && json.Unmarshal(data, &answer) != nil {
		answer.Error = "" // of a server that is no receiver
	}
	return &statusError{response.StatusCode, answer.Error}
}

// named adds the name of a receiver to a JSON object, whatever else the object has.
func named(object json.RawMessage, receiver string) json.RawMessage {
	name, err := json.Marshal(receiver)
	rest := strings.TrimSpace(string(object))
	if err != nil || !strings.HasPrefix(rest, "{") {
		return object
	}
	if rest = strings.TrimSpace(rest[1:]); rest == "}" {
		return json.RawMessage(`{"receiver":` + string(name) + rest)
	}
	return json.RawMessage(`{"receiver":` + string(name) + "," + rest)
}

func answerJSON(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // the client may have gone
}
