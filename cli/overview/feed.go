package overview

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/page/site"
	"github.com/mandrill-operator/mandrill-operator/receiver/sse"
)

const (
	// retryPause is between two attempts to follow a receiver, and silence how long it may send nothing: it sends a state each second.
	retryPause = time.Second
	silence    = 10 * time.Second
)

// feed is what a receiver sends to a page. The mutex of the view guards the fields that change.
type feed struct {
	view *view
	name string
	stop context.CancelFunc

	receiver Receiver
	begun    bool        // it has sent its past events
	last     time.Time   // of the last event
	state    *site.State // nil while it cannot be followed
	came     time.Time   // when the state came
	problem  string
}

// run follows the receiver until ctx ends.
func (f *feed) run(ctx context.Context) {
	for {
		f.view.mu.Lock()
		receiver := f.receiver
		f.view.mu.Unlock()
		err := f.follow(ctx, receiver)
		if ctx.Err() != nil {
			return
		}
		f.view.mu.Lock()
		f.state, f.problem = nil, err.Error()
		f.view.mu.Unlock()
		pause := time.NewTimer(retryPause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// follow reads the stream of a receiver. The error says why it has ended.
func (f *feed) follow(ctx context.Context, receiver Receiver) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silent := time.AfterFunc(silence, cancel)
	defer silent.Stop()
	response, err := receiver.request(ctx, http.MethodGet, "/api/stream", f.view.query, http.Header{"Accept": {"text/event-stream"}}, nil)
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("it does not answer")
	case err != nil:
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return fmt.Errorf("its page is not one that kubectl-mandrill %s can show: use the kubectl-mandrill of its version, or update it", f.view.overview.options.Version)
	default:
		return errorOf(response)
	}
	err = sse.Read(response.Body, func(name string, data []byte) error {
		silent.Reset(silence)
		return f.take(name, data)
	})
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("it has sent nothing for %s: trying again", silence)
	case errors.Is(err, sse.ErrLost):
		return fmt.Errorf("%w: trying again", err)
	}
	return err
}

// take takes a message.
func (f *feed) take(name string, data []byte) error {
	switch name {
	case "state":
		state := &site.State{}
		if err := json.Unmarshal(data, state); err != nil || state.API != site.API {
			return fmt.Errorf("it has version %q, which kubectl-mandrill %s cannot show: use the kubectl-mandrill of its version, or update it",
				state.Version, f.view.overview.options.Version)
		}
		f.view.mu.Lock()
		defer f.view.mu.Unlock()
		f.state, f.came, f.problem = state, f.view.overview.options.Now(), ""
	case "events":
		var message Events
		if err := json.Unmarshal(data, &message); err != nil {
			return fmt.Errorf("its events cannot be read: %w", err)
		}
		f.view.mu.Lock()
		defer f.view.mu.Unlock()
		f.view.add(f.fresh(message), message.Omitted)
		f.begun = true
	}
	return nil
}

// fresh returns the events of a message. Of the past ones, which come after each connection, it returns those that did not come before.
func (f *feed) fresh(message Events) []event {
	events := newEvents(f.name, message.Events)
	if message.Reset && f.begun {
		for len(events) > 0 && !events[0].at.After(f.last) {
			events = events[1:]
		}
	}
	if len(events) > 0 {
		f.last = events[len(events)-1].at
	}
	return events
}
