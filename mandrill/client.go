package mandrill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// DefaultBaseURL is the URL of the API. Mandrill's specifications name later versions as well; this is the one in use.
const DefaultBaseURL = "https://mandrillapp.com/api/1.0"

const (
	// defaultTimeout covers webhooks/add, during which Mandrill probes the webhook's URL twice.
	defaultTimeout = 2 * time.Minute
	// maxResponseBytes bounds an answer. It is enough for a list of some 100,000 webhooks.
	maxResponseBytes = 64 << 20
)

// ClientOptions configures a [Client]. Key is required.
type ClientOptions struct {
	Key        string       // the API key, sent in the body of every call
	BaseURL    string       // default DefaultBaseURL
	HTTPClient *http.Client // default: a timeout of 2 minutes, redirects are not followed
	UserAgent  string       // default "mandrill-operator"
	// Observe is called after every call with its name, such as "webhooks/add", its duration, and its error.
	Observe func(call string, took time.Duration, err error)
}

// Client calls Mandrill's API. It is safe for concurrent use. Every error it returns is an [*APIError], a
// [*TransportError], or about the caller's own context or arguments. No error contains the key.
type Client struct {
	options ClientOptions
}

// NewClient returns a client for one API key.
func NewClient(options ClientOptions) (*Client, error) {
	if options.Key == "" {
		return nil, errors.New("the API key is empty")
	}
	if options.BaseURL == "" {
		options.BaseURL = DefaultBaseURL
	}
	options.BaseURL = strings.TrimRight(options.BaseURL, "/")
	if options.HTTPClient == nil {
		options.HTTPClient = &http.Client{
			Timeout: defaultTimeout,
			// A redirect that keeps the method would send the key to another server.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if options.UserAgent == "" {
		options.UserAgent = "mandrill-operator"
	}
	return &Client{options}, nil
}

// String keeps the key out of anything that prints a client.
func (c *Client) String() string { return "mandrill.Client(" + c.options.BaseURL + ")" }

// GoString does the same for %#v.
func (c *Client) GoString() string { return c.String() }

// Ping checks the key.
func (c *Client) Ping(ctx context.Context) error {
	pong, err := call[string](ctx, c, "users/ping", nil)
	if err == nil && pong != "PONG!" {
		return &APIError{Call: "users/ping", HTTPStatus: http.StatusOK}
	}
	return err
}

// callElements makes a call that returns a list, and decodes each element by itself: one that cannot be decoded is the zero
// value. It refuses null, which would read as an empty list.
func callElements[T any](ctx context.Context, c *Client, name string, arguments map[string]any) ([]T, error) {
	elements, err := call[[]json.RawMessage](ctx, c, name, arguments)
	if err != nil {
		return nil, err
	}
	if elements == nil {
		return nil, &TransportError{name, errors.New("the answer is null instead of a list")}
	}
	list := make([]T, len(elements))
	for i, element := range elements {
		var decoded T
		if err := json.Unmarshal(element, &decoded); err == nil {
			list[i] = decoded
		}
	}
	return list, nil
}

// call posts the arguments together with the key, and decodes the answer. Arguments may be nil.
func call[T any](ctx context.Context, c *Client, name string, arguments map[string]any) (result T, err error) {
	if observe := c.options.Observe; observe != nil {
		start := time.Now()
		defer func() { observe(name, time.Since(start), err) }()
	}
	body := map[string]any{"key": c.options.Key}
	for field, value := range arguments {
		body[field] = value
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return result, fmt.Errorf("encoding %s: %w", name, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.options.BaseURL+"/"+name+".json", bytes.NewReader(encoded))
	if err != nil {
		return result, fmt.Errorf("making %s: %w", name, err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", c.options.UserAgent)
	response, err := c.options.HTTPClient.Do(request)
	if err != nil {
		return result, &TransportError{name, err}
	}
	defer response.Body.Close() //nolint:errcheck // nothing was written
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxResponseBytes+1))
	if err != nil {
		return result, &TransportError{name, err}
	}
	if len(answer) > maxResponseBytes {
		return result, &TransportError{name, fmt.Errorf("the answer is larger than %d bytes", maxResponseBytes)}
	}
	if response.StatusCode != http.StatusOK {
		return result, c.apiError(name, response, answer)
	}
	if err := json.Unmarshal(answer, &result); err != nil {
		return result, &TransportError{name, &answerError{err}}
	}
	return result, nil
}

func (c *Client) apiError(name string, response *http.Response, answer []byte) error {
	var body struct {
		Code    int    `json:"code"`
		Name    string `json:"name"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(answer, &body) // the page of a proxy leaves Name empty
	if body.Name == c.options.Key {   // names are shown as they are, so make sure that they are not the key
		body.Name = ""
	}
	return &APIError{
		Call: name, HTTPStatus: response.StatusCode, Code: body.Code, Name: body.Name, Message: redact(body.Message, c.options.Key),
		RetryAfter: retryAfter(response.Header.Get("Retry-After"), time.Now()),
	}
}

// retryAfter decodes the header of that name, which has seconds or a date.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}

// Time is a date of the API: in UTC, with or without a fraction of a second. Null and the empty string mean never.
type Time struct{ time.Time }

// UnmarshalJSON accepts "2026-01-01 10:00:00", "2026-01-01 10:00:00.12345", RFC 3339, "0000-00-00 00:00:00" and null.
func (t *Time) UnmarshalJSON(data []byte) error {
	var s *string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	if s == nil {
		t.Time = time.Time{}
		return nil
	}
	parsed, err := parseTime(*s)
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

// MarshalJSON writes the date without a fraction, or null for the zero time.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(t.UTC().Format(time.DateTime))
}
