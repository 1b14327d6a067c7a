package overview

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/receiver/page/site"
)

// State is what the page shows of all receivers: that of one, with the parts.
type State struct {
	site.State
	Receivers []Part `json:"receivers"`
}

// Part is what a receiver adds to the state.
type Part struct {
	Name     string          `json:"name"`
	Problem  string          `json:"problem,omitempty"` // why it adds nothing
	Version  string          `json:"version,omitempty"`
	At       time.Time       `json:"at,omitzero"` // by its clock, to which its counters belong
	NotReady string          `json:"notReady,omitempty"`
	Buffer   *reports.Buffer `json:"buffer,omitempty"`
	Totals   site.Totals     `json:"totals"`
}

// state adds up what the receivers have sent.
func (v *view) state() State {
	v.mu.Lock()
	defer v.mu.Unlock()
	options := v.overview.options
	sum := State{State: site.State{API: site.API, Receiver: "all receivers", Version: options.Version, At: options.Now().UTC()}, Receivers: []Part{}}
	var states []*site.State
	for _, name := range slices.Sorted(maps.Keys(v.feeds)) {
		f := v.feeds[name]
		part := Part{Name: name, Problem: f.problem}
		if s := f.state; s != nil {
			part.Version, part.At, part.NotReady, part.Buffer, part.Totals = s.Version, s.At, s.NotReady, s.Buffer, s.Totals
			states = append(states, s)
		} else if part.Problem == "" {
			part.Problem = "waiting for its answer"
		}
		sum.Receivers = append(sum.Receivers, part)
	}
	sum.add(states)
	return sum
}

// add adds up the states of receivers.
func (s *State) add(states []*site.State) {
	var notReady []string
	for _, part := range s.Receivers {
		if text := cmp.Or(part.Problem, part.NotReady); text != "" {
			notReady = append(notReady, part.Name+": "+text)
		}
	}
	s.NotReady = strings.Join(notReady, "; ")
	for _, each := range states {
		s.Payloads = s.Payloads || each.Payloads
	}
	buffers := grouped(states, bufferID)
	s.Buffer = bufferOf(buffers)
	webhooks := webhooksOf(states, buffers)
	s.SetWebhooks(webhooks)
	// The lists of receivers are bounded, and their totals are not.
	s.Totals.Received, s.Totals.Delivered, s.Totals.Waiting, s.Totals.DeadLetters = 0, 0, 0, 0
	for _, each := range states {
		t := each.Totals
		s.Totals.Received, s.Totals.Delivered = s.Totals.Received+t.Received, s.Totals.Delivered+t.Delivered
		s.Totals.Webhooks = max(s.Totals.Webhooks, t.Webhooks)
		s.Totals.LastReceivedAge = site.Lower(s.Totals.LastReceivedAge, t.LastReceivedAge)
		s.Totals.LastDeliveredAge = site.Lower(s.Totals.LastDeliveredAge, t.LastDeliveredAge)
		s.Totals.LastBadSignatureAge = site.Lower(s.Totals.LastBadSignatureAge, t.LastBadSignatureAge)
	}
	for _, group := range buffers {
		deadLetters := int64(0)
		for _, each := range delivering(group) {
			s.Totals.Waiting += each.Totals.Waiting
			s.Totals.OldestWaitingAge = site.Higher(s.Totals.OldestWaitingAge, each.Totals.OldestWaitingAge)
			deadLetters = max(deadLetters, each.Totals.DeadLetters)
		}
		s.Totals.DeadLetters += deadLetters
	}
}

// bufferID is the buffer of a receiver; empty without one.
func bufferID(state *site.State) string {
	if state.Buffer == nil {
		return ""
	}
	return state.Buffer.ID
}

// delivering returns the states of a buffer whose receivers deliver from it. Each of them counts what waits of the webhooks that it
// delivers, and all of its dead letters. If none delivers, the one that counts the most is returned.
func delivering(group []*site.State) []*site.State {
	found := slices.DeleteFunc(slices.Clone(group), func(state *site.State) bool { return !state.Buffer.Delivers })
	if len(found) > 0 {
		return found
	}
	return []*site.State{slices.MaxFunc(group, func(a, b *site.State) int { return cmp.Compare(a.Totals.Waiting, b.Totals.Waiting) })}
}

// severity orders the states of buffers.
var severity = map[reports.BufferState]int{reports.BufferAvailable: 0, reports.BufferFull: 1, reports.BufferUnavailable: 2}

// bufferOf adds up buffers: of their states it has the worst.
func bufferOf(buffers [][]*site.State) *reports.Buffer {
	if len(buffers) == 0 {
		return nil
	}
	sum := reports.Buffer{ID: fmt.Sprintf("%d buffers", len(buffers)), State: reports.BufferAvailable}
	for _, group := range buffers {
		counts := delivering(group)[0].Buffer // all have the same
		sum.UsedBytes, sum.MaxBytes = sum.UsedBytes+counts.UsedBytes, sum.MaxBytes+counts.MaxBytes
		for _, state := range group {
			sum.Delivers = sum.Delivers || state.Buffer.Delivers
			if severity[state.Buffer.State] > severity[sum.State] {
				sum.State = state.Buffer.State
			}
		}
	}
	return &sum
}

// webhooksOf adds up the webhooks of receivers.
func webhooksOf(states []*site.State, buffers [][]*site.State) []reports.Webhook {
	sums := map[string]*reports.Webhook{}
	of := func(name string) *reports.Webhook {
		if sums[name] == nil {
			sums[name] = &reports.Webhook{Name: name}
		}
		return sums[name]
	}
	for _, state := range states {
		for i := range state.Webhooks {
			addFlow(of(state.Webhooks[i].Name), &state.Webhooks[i])
		}
	}
	for _, group := range buffers {
		for name, w := range held(group) {
			sum := of(name)
			sum.WaitingEvents, sum.WaitingBytes = sum.WaitingEvents+w.WaitingEvents, sum.WaitingBytes+w.WaitingBytes
			sum.DeadLetters += w.DeadLetters
			sum.OldestWaitingAge = site.Higher(sum.OldestWaitingAge, w.OldestWaitingAge)
		}
	}
	for _, state := range states {
		for i := range state.Webhooks {
			addFailure(of(state.Webhooks[i].Name), &state.Webhooks[i])
		}
	}
	list := make([]reports.Webhook, 0, len(sums))
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		list = append(list, *sums[name])
	}
	return list
}

// held returns what a buffer holds by webhook: what the receiver says that delivers the webhook. An older one says only that it delivers.
func held(group []*site.State) map[string]*reports.Webhook {
	type source struct {
		webhook  *reports.Webhook
		delivers int
	}
	sources := map[string]source{}
	for _, state := range group {
		for i := range state.Webhooks {
			next := source{webhook: &state.Webhooks[i]}
			switch {
			case next.webhook.Delivers:
				next.delivers = 2
			case state.Buffer.Delivers:
				next.delivers = 1
			}
			known, ok := sources[next.webhook.Name]
			if !ok || cmp.Or(cmp.Compare(next.delivers, known.delivers), cmp.Compare(next.webhook.WaitingEvents, known.webhook.WaitingEvents)) > 0 {
				sources[next.webhook.Name] = next
			}
		}
	}
	found := map[string]*reports.Webhook{}
	for name, from := range sources {
		found[name] = from.webhook
	}
	return found
}

func addFlow(sum, w *reports.Webhook) {
	sum.ReceivedEvents += w.ReceivedEvents
	sum.DeliveredEvents += w.DeliveredEvents
	sum.LastReceivedAge = site.Lower(sum.LastReceivedAge, w.LastReceivedAge)
	sum.LastDeliveredAge = site.Lower(sum.LastDeliveredAge, w.LastDeliveredAge)
	sum.LastBadSignatureAge = site.Lower(sum.LastBadSignatureAge, w.LastBadSignatureAge)
	if w.Failure != nil && (sum.Failure == nil || w.Failure.Age < sum.Failure.Age) {
		sum.Failure = w.Failure
	}
}

// addFailure takes the failure of a receiver. As in the status of the object, it is over if the sink has accepted events of another
// receiver since then, unless events wait for this one. The sum has the times of all.
func addFailure(sum, w *reports.Webhook) {
	if w.FailingFor == nil {
		return
	}
	if accepted := sum.LastDeliveredAge; w.WaitingEvents == 0 && accepted != nil && w.Failure != nil && *accepted < w.Failure.Age &&
		(w.LastDeliveredAge == nil || *accepted < *w.LastDeliveredAge) {
		return
	}
	sum.FailingFor = site.Higher(sum.FailingFor, w.FailingFor)
	sum.CircuitOpen = sum.CircuitOpen || w.CircuitOpen
}
