package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

// consumer is an application that receives CloudEvents: it prints each as one line of JSON.
type consumer struct {
	server   *http.Server
	listener net.Listener
	mu       sync.Mutex
	events   []cloudevents.Event
	changed  chan struct{}
}

func newConsumer(ctx context.Context) (*consumer, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &consumer{listener: listener, changed: make(chan struct{}, 1)}
	c.server = &http.Server{Handler: c, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = c.server.Serve(listener) }() // ends with Close
	return c, nil
}

func (c *consumer) URL() string { return "http://" + c.listener.Addr().String() }

func (c *consumer) Close() { _ = c.server.Close() }

func (c *consumer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	event, err := cehttp.NewEventFromHTTPRequest(r)
	if err == nil {
		err = event.Validate()
	}
	var line []byte
	if err == nil {
		line, err = event.MarshalJSON() // json.Marshal would reformat the data
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, *event)
	if _, err := fmt.Printf("%s\n", line); err != nil {
		http.Error(w, "standard output is closed", http.StatusInternalServerError)
		return
	}
	select {
	case c.changed <- struct{}{}:
	default:
	}
	w.WriteHeader(http.StatusAccepted)
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
