package page

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/version"
)

// maxWebhooks bounds the webhooks in a state. Those that need somebody come first.
const maxWebhooks = 100

// State is what the page shows of the hops. Counters begin with the process, and the page makes rates of them.
type State struct {
	Receiver string            `json:"receiver"`
	Version  string            `json:"version"`
	At       time.Time         `json:"at"`
	NotReady string            `json:"notReady,omitempty"`
	Payloads bool              `json:"payloads"`
	Buffer   *reports.Buffer   `json:"buffer,omitempty"` // absent in Direct mode
	Totals   Totals            `json:"totals"`
	Webhooks []reports.Webhook `json:"webhooks"`
}

// Totals add up all webhooks. Ages are the lowest ones, in seconds.
type Totals struct {
	Webhooks            int      `json:"webhooks"`
	Failing             int      `json:"failing"` // webhooks whose sink fails
	Received            uint64   `json:"received"`
	Delivered           uint64   `json:"delivered"`
	Waiting             int64    `json:"waiting"`
	DeadLetters         int64    `json:"deadLetters"`
	OldestWaitingAge    *float64 `json:"oldestWaitingAge,omitempty"` // the highest one
	LastReceivedAge     *float64 `json:"lastReceivedAge,omitempty"`
	LastDeliveredAge    *float64 `json:"lastDeliveredAge,omitempty"`
	LastBadSignatureAge *float64 `json:"lastBadSignatureAge,omitempty"`
}

// stateCache has the last state, so that many pages cost as much as one.
type stateCache struct {
	mu   sync.Mutex
	last *State
}

// state returns the state of the moment, or one that is less than stateInterval old.
func (p *page) state(ctx context.Context) *State {
	p.states.mu.Lock()
	defer p.states.mu.Unlock()
	now := p.options.Now()
	if last := p.states.last; last != nil && now.Sub(last.At) < stateInterval*9/10 && !now.Before(last.At) {
		return last
	}
	state := &State{
		Receiver: p.options.Receiver, Version: version.Get().Version, At: now.UTC(), Payloads: p.options.Payloads, Buffer: p.options.State.Buffer(),
	}
	if err := p.options.Ready(ctx); err != nil {
		state.NotReady = err.Error()
	}
	state.Webhooks = p.options.State.Snapshot()
	for i := range state.Webhooks {
		state.Totals.add(&state.Webhooks[i])
	}
	slices.SortStableFunc(state.Webhooks, func(a, b reports.Webhook) int {
		return cmp.Or(cmp.Compare(urgency(&b), urgency(&a)), cmp.Compare(b.WaitingEvents, a.WaitingEvents))
	})
	state.Webhooks = state.Webhooks[:min(len(state.Webhooks), maxWebhooks)]
	p.states.last = state
	return state
}

func (t *Totals) add(w *reports.Webhook) {
	t.Webhooks++
	if w.FailingFor != nil {
		t.Failing++
	}
	t.Received += w.ReceivedEvents
	t.Delivered += w.DeliveredEvents
	t.Waiting += w.WaitingEvents
	t.DeadLetters += w.DeadLetters
	if age := w.OldestWaitingAge; age != nil && (t.OldestWaitingAge == nil || *age > *t.OldestWaitingAge) {
		t.OldestWaitingAge = age
	}
	for _, each := range []struct {
		age    *float64
		lowest **float64
	}{{w.LastReceivedAge, &t.LastReceivedAge}, {w.LastDeliveredAge, &t.LastDeliveredAge}, {w.LastBadSignatureAge, &t.LastBadSignatureAge}} {
		if each.age != nil && (*each.lowest == nil || *each.age < **each.lowest) {
			*each.lowest = each.age
		}
	}
}

// urgency orders webhooks: those whose sink fails, those with dead letters, those with traffic, the others.
func urgency(w *reports.Webhook) int {
	switch {
	case w.FailingFor != nil:
		return 3
	case w.DeadLetters > 0:
		return 2
	case w.LastReceivedAge != nil:
		return 1
	}
	return 0
}
