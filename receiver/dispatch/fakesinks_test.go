package dispatch_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// fakeSinks is a Poster for all hosts. An event is "HOST NAME MESSAGE". It records attempts, and accepted events in order.
type fakeSinks struct {
	mu       sync.Mutex
	accepted []string
	attempts map[string]int
	ids      map[string][]string // CloudEvent ids of each event, by attempt
	last     sink.Payload
	answer   func(host, event string, attempt int) error
	changed  chan struct{}
}

func newFakeSinks() *fakeSinks {
	return &fakeSinks{attempts: map[string]int{}, ids: map[string][]string{}, changed: make(chan struct{})}
}

func (s *fakeSinks) Post(_ context.Context, target sink.Target, payload sink.Payload) (int, error) {
	host, _, _ := strings.Cut(strings.TrimPrefix(target.URI, "http://"), ".")
	payload.Fields = bytes.Clone(payload.Fields)
	header := cloudevent.Header(payload.Fields)
	event := host + " " + strings.TrimPrefix(header.Get("Ce-Type"), "com.mandrill.message.") + " " + header.Get("Ce-Subject")
	s.mu.Lock()
	s.attempts[event]++
	s.ids[event], s.last = append(s.ids[event], header.Get("Ce-Id")), payload
	attempt, answer := s.attempts[event], s.answer
	s.mu.Unlock()
	var err error
	if answer != nil {
		err = answer(host, event, attempt)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.accepted = append(s.accepted, event)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return 0, err
}

func (s *fakeSinks) setAnswer(answer func(host, event string, attempt int) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// waitFor waits for a condition on the accepted events and the attempts of each event. It gives up when no request has come
// for as long as a test is patient.
func (s *fakeSinks) waitFor(t *testing.T, what string, condition func(accepted []string, attempts map[string]int) bool) {
	t.Helper()
	idle := time.NewTimer(patience)
	defer idle.Stop()
	for {
		s.mu.Lock()
		met, changed := condition(s.accepted, s.attempts), s.changed
		s.mu.Unlock()
		if met {
			return
		}
		select {
		case <-changed:
			idle.Reset(patience)
		case <-idle.C:
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Fatalf("waited in vain for %s; accepted %d events, the last of them %q", what, len(s.accepted), s.accepted[max(0, len(s.accepted)-20):])
		}
	}
}

// expectAccepted waits until as many events were accepted, and asserts that they are these, in any order.
func (s *fakeSinks) expectAccepted(t *testing.T, want ...string) {
	t.Helper()
	s.waitFor(t, fmt.Sprintf("delivery of %d events", len(want)), func(accepted []string, _ map[string]int) bool { return len(accepted) >= len(want) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(s.accepted))); diff != "" {
		t.Errorf("accepted (-want +got):\n%s", diff)
	}
}

var errSinkDown = &sink.Error{Status: http.StatusInternalServerError, Answer: "s3ntinel"}

func failHosts(webhooks ...string) func(string, string, int) error {
	return func(host, _ string, _ int) error {
		if slices.Contains(webhooks, host) {
			return errSinkDown
		}
		return nil
	}
}

func refuseAll(string, string, int) error {
	return &sink.Error{Status: http.StatusUnprocessableEntity, Answer: "s3ntinel"}
}

func (s *fakeSinks) attemptsOf(event string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempts[event]
}
