package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// settings of a flow. Each lane posts one batch after the other, as Mandrill does for one URL.
type settings struct {
	Name       string `json:"name"`       // of the flow; in the ids of its messages
	Path       string `json:"path"`       // of the sink
	Target     string `json:"target"`     // where to post: scheme and host
	URL        string `json:"url"`        // as it is registered at Mandrill
	Key        string `json:"key"`        // signing key
	Lanes      int    `json:"lanes"`      // default 4
	IntervalMS int    `json:"intervalMs"` // between batches of a lane, default 200
	Events     int    `json:"events"`     // of a batch, default 15
	Padding    int    `json:"padding"`    // bytes of an event
}

// flow posts batches until it is stopped.
type flow struct {
	settings

	ledger   *ledger
	running  context.Context    //nolint:containedctx // ends with stop
	stopNew  context.CancelFunc // no more batches
	alive    context.Context    //nolint:containedctx // ends with the process, or the next flow of the name
	cancel   context.CancelFunc
	finished sync.WaitGroup

	mu      sync.Mutex
	posts   int
	failed  map[string]int
	slowest time.Duration
}

func newFlow(ctx context.Context, s settings) *flow {
	s.Lanes, s.IntervalMS, s.Events = cmp.Or(s.Lanes, 4), cmp.Or(s.IntervalMS, 200), cmp.Or(s.Events, 15)
	f := &flow{settings: s, ledger: &ledger{messages: s.Name + "-", highest: map[string]int{}}, failed: map[string]int{}}
	f.alive, f.cancel = context.WithCancel(ctx)
	f.running, f.stopNew = context.WithCancel(f.alive)
	return f
}

func (f *flow) start() {
	for lane := range f.Lanes {
		f.finished.Go(func() { f.lane(lane) })
	}
}

func (f *flow) stop() {
	f.stopNew()
	f.finished.Wait()
}

// messagesPerLane is how many messages a lane has. Only the order of events of one message is kept.
const messagesPerLane = 10

func (f *flow) lane(lane int) {
	messages := make([]string, messagesPerLane)
	for i := range messages {
		messages[i] = fmt.Sprintf("%s-%d-%d", f.Name, lane, i)
	}
	// With a connection for each post, all receivers get some.
	client := &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ordinals, padding := map[string]int{}, strings.Repeat("x", f.Padding)
	ticker := time.NewTicker(time.Duration(f.IntervalMS) * time.Millisecond)
	defer ticker.Stop()
	for f.running.Err() == nil {
		serials, raw := f.ledger.issue(messages, ordinals, f.Events, padding)
		if !f.deliver(client, mandrilltest.Batch(raw...)) {
			return
		}
		f.ledger.accept(serials)
		select {
		case <-f.running.Done():
		case <-ticker.C:
		}
	}
}

// retryDelay is the time before a batch is posted again.
const retryDelay = 500 * time.Millisecond

// deliver posts a batch until it is accepted.
func (f *flow) deliver(client *http.Client, batch []byte) bool {
	registered, err := url.Parse(f.URL)
	if err != nil {
		return false
	}
	for f.alive.Err() == nil {
		request, err := mandrilltest.NewRequest(f.alive, f.Target+registered.RequestURI(), f.URL, f.Key, batch)
		if err != nil {
			return false
		}
		request.Host = registered.Host
		if f.post(client, request) {
			return true
		}
		select {
		case <-f.alive.Done():
		case <-time.After(retryDelay):
		}
	}
	return false
}

func (f *flow) post(client *http.Client, request *http.Request) bool {
	begin := time.Now()
	var outcome string
	response, err := client.Do(request)
	if err == nil {
		outcome = strconv.Itoa(response.StatusCode)
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	} else {
		text := err.Error()
		outcome = text[strings.LastIndex(text, ": ")+1:]
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.posts++
	f.slowest = max(f.slowest, time.Since(begin))
	if outcome != "200" {
		f.failed[strings.TrimSpace(outcome)]++
	}
	return outcome == "200"
}
