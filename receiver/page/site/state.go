package site

import (
	"cmp"
	"slices"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
)

// API is the version of what the page's script asks for. Fields are only added to a version.
const API = 1

// MaxWebhooks bounds the webhooks in a state. Those that need attention come first.
const MaxWebhooks = 100

// MaxStreams bounds the pages that are open at the same time.
const MaxStreams = 16

// StateInterval is how often a page gets the state, EventInterval the shortest time between two messages with events, and MaxEvents
// bounds the events of a message: nobody reads more, and a browser must not draw more.
const (
	StateInterval = time.Second
	EventInterval = 250 * time.Millisecond
	MaxEvents     = 50
)

// State is what the page shows of the hops. Counters begin with the process, and the page makes rates of them.
type State struct {
	API      int               `json:"api"`
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

// SetWebhooks sets the webhooks and what they add up to.
func (s *State) SetWebhooks(webhooks []reports.Webhook) {
	s.Totals = Totals{}
	for i := range webhooks {
		s.Totals.add(&webhooks[i])
	}
	slices.SortStableFunc(webhooks, func(a, b reports.Webhook) int {
		return cmp.Or(cmp.Compare(urgency(&b), urgency(&a)), cmp.Compare(b.WaitingEvents, a.WaitingEvents))
	})
	s.Webhooks = webhooks[:min(len(webhooks), MaxWebhooks)]
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
	t.OldestWaitingAge = Higher(t.OldestWaitingAge, w.OldestWaitingAge)
	t.LastReceivedAge = Lower(t.LastReceivedAge, w.LastReceivedAge)
	t.LastDeliveredAge = Lower(t.LastDeliveredAge, w.LastDeliveredAge)
	t.LastBadSignatureAge = Lower(t.LastBadSignatureAge, w.LastBadSignatureAge)
}

// Lower returns the lower of two ages, where nil is none.
func Lower(a, b *float64) *float64 {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

// Higher returns the higher of two ages, where nil is none.
func Higher(a, b *float64) *float64 {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
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
