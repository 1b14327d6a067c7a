package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

// maxKept bounds the events that the consumer keeps, for the check of the first batch.
const maxKept = 100

// consumer is an application that receives CloudEvents. With a sink of the user's it hands them on, and answers what that answers.
type consumer struct {
	ledger   *ledger
	told     *narrator
	sink     string
	broken   atomic.Bool
	server   *http.Server
	listener net.Listener

	mu      sync.Mutex
	events  []cloudevents.Event
	fault   error // of the last event that the user's sink did not take
	changed chan struct{}
}

func newConsumer(ctx context.Context, told *narrator, sink string) (*consumer, error) {
	if parsed, err := url.Parse(sink); sink != "" && (err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https") {
		return nil, errors.New("DEMO_SINK must be an http or https URL, such as http://localhost:8080/events")
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &consumer{ledger: newLedger(), told: told, sink: sink, listener: listener, changed: make(chan struct{}, 1)}
	c.server = &http.Server{Handler: c, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = c.server.Serve(listener) }() // ends with Close
	return c, nil
}

func (c *consumer) URL() string { return "http://" + c.listener.Addr().String() }

func (c *consumer) Close() { _ = c.server.Close() }

func (c *consumer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the receiver has gone
	}
	if c.broken.Load() {
		c.ledger.harm()
		http.Error(w, "the demo broke the sink", http.StatusServiceUnavailable)
		return
	}
	if status := c.forward(r, body); status >= 300 {
		http.Error(w, "the sink of DEMO_SINK did not take it", status)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	event, err := cehttp.NewEventFromHTTPRequest(r)
	if err == nil {
		err = event.Validate()
	}
	var whole []byte
	if err == nil {
		whole, err = event.MarshalJSON() // json.Marshal would reformat the data
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := c.told.event(lineOf(event, c.ledger.arrive(string(event.Data()))), whole); err != nil {
		http.Error(w, "standard output is closed", http.StatusInternalServerError)
		return
	}
	c.keep(event)
	w.WriteHeader(http.StatusAccepted)
}

// forward hands a request on to the user's sink, if there is one, and returns the status.
func (c *consumer) forward(r *http.Request, body []byte) int {
	if c.sink == "" {
		return http.StatusAccepted
	}
	request, err := http.NewRequestWithContext(r.Context(), http.MethodPost, c.sink, bytes.NewReader(body))
	if err != nil {
		return http.StatusBadGateway
	}
	request.Header = r.Header.Clone()
	request.Header.Del("Proxy-Connection")
	response, err := http.DefaultClient.Do(request)
	status := http.StatusBadGateway
	if err == nil {
		status = response.StatusCode
		_ = response.Body.Close()
	}
	if err == nil && status >= 300 {
		err = fmt.Errorf("%s answered with status %d", c.sink, status)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = err
	return status
}

func (c *consumer) keep(event *cloudevents.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.events) < maxKept {
		c.events = append(c.events, *event)
	}
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// lineOf tells of an event in a line.
func lineOf(event *cloudevents.Event, repeated bool) string {
	var data struct {
		Message struct {
			Email   string `json:"email"`
			Subject string `json:"subject"`
		} `json:"msg"`
	}
	_ = event.DataAs(&data) // not all events have a message
	about := data.Message.Email
	if about == "" {
		about = event.Subject()
	}
	line := fmt.Sprintf("%-21s %s", strings.TrimPrefix(strings.TrimPrefix(event.Type(), typePrefix), "message."), about)
	if data.Message.Subject != "" {
		line += fmt.Sprintf(" · %.40s", data.Message.Subject)
	}
	if repeated {
		line += " (again, with the same id)"
	}
	return line
}

// await waits until that many events have arrived and returns them.
func (c *consumer) await(ctx context.Context, want int, limit time.Duration) ([]cloudevents.Event, error) {
	timeout := time.After(limit)
	for {
		c.mu.Lock()
		events := c.events
		c.mu.Unlock()
		if len(events) >= want {
			return events, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timeout:
			return nil, fmt.Errorf("only %d of %d events arrived within %s", len(events), want, limit)
		case <-c.changed:
		}
	}
}

const (
	source     = "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/transactional"
	typePrefix = "com.mandrill."
)

// check reports events that did not arrive byte for byte as they were sent, or that lack attributes.
func check(sent []string, arrived []cloudevents.Event) error {
	byData := map[string]cloudevents.Event{}
	var faults []error
	types := map[string]bool{}
	for _, event := range arrived {
		byData[string(event.Data())] = event
		types[event.Type()] = true
		noRecipient := event.Extensions()["recipientdomain"] == nil && !strings.Contains(event.Subject(), "@")
		if event.Source() != source || !strings.HasPrefix(event.Type(), typePrefix) || event.Subject() == "" ||
			event.Time().IsZero() || event.DataContentType() != "application/json" || noRecipient {
			faults = append(faults, fmt.Errorf("an event of type %s lacks attributes", event.Type()))
		}
	}
	for _, raw := range sent {
		if _, ok := byData[raw]; !ok {
			faults = append(faults, fmt.Errorf("an event is missing or was changed: %.60s", raw))
		}
	}
	if len(types) != len(sent) {
		faults = append(faults, fmt.Errorf("%d kinds of event were sent, but %d types arrived", len(sent), len(types)))
	}
	return errors.Join(faults...)
}
