package recent

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
)

const (
	// size is how many entries are kept, and failedSize how many of those that were not accepted in addition: a thousand events a
	// second must not hide the one that failed a minute ago. Together they take about 2 MB.
	size       = 4096
	failedSize = 512
	// payloadBudget bounds the CloudEvents that are kept. Later ones replace earlier ones.
	payloadBudget = 16 << 20
	// maxAnswer bounds what an entry holds of a sink's answer.
	maxAnswer = 200
	// maxText bounds its other texts. The longest address has 320 bytes.
	maxText = 320
)

// Options configures a [Ring].
type Options struct {
	Payloads bool             // keep CloudEvents although nobody asks for them
	Now      func() time.Time // default time.Now
}

// Ring holds the last events. Its methods are safe for concurrent use. A nil Ring records nothing.
type Ring struct {
	now      func() time.Time
	payloads bool
	wanted   atomic.Bool // somebody wants CloudEvents

	mu        sync.Mutex // guards what follows
	last      entries
	failed    entries
	next      uint64 // number of the next entry; the first is 1
	bytes     int    // of the payloads in last
	stripped  uint64 // entries below this number have lost their payload
	followers []*Follower
	closed    bool
}

// entry is an event with its number.
type entry struct {
	number uint64
	event  Event
}

// entries is a buffer that begins again at its start when it is full.
type entries struct {
	list []entry
	at   int // of the next entry
}

// put replaces the oldest entry, and returns it.
func (e *entries) put(added entry) (replaced entry) {
	replaced, e.list[e.at] = e.list[e.at], added
	e.at = (e.at + 1) % len(e.list)
	return replaced
}

// New returns an empty ring.
func New(options Options) *Ring {
	r := &Ring{
		now: options.Now, payloads: options.Payloads, next: 1, last: entries{list: make([]entry, size)}, failed: entries{list: make([]entry, failedSize)},
	}
	if r.now == nil {
		r.now = time.Now
	}
	r.wanted.Store(r.payloads)
	return r
}

// Close ends all followers, now and later.
func (r *Ring) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, follower := range r.followers {
		follower.wake()
	}
}

// add records an event. The CloudEvent is encoded only if somebody wants it.
func (r *Ring) add(event Event, cloudEvent *cloudevent.Event) {
	event.Time = r.now().UTC()
	if r.wanted.Load() && r.wantsPayload(&event) {
		event.Event = cloudEvent.AppendJSON(nil)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	added := entry{r.next, event}
	r.next++
	replaced := r.last.put(added)
	r.bytes += len(event.Event) - len(replaced.event.Event)
	r.shrink()
	if event.Failed() {
		added.event.Event = nil // it is in last as long as payloads are kept
		r.failed.put(added)
	}
	for _, follower := range r.followers {
		follower.wake()
	}
}

// countWanted finds out whether anybody wants CloudEvents. The lock must be held.
func (r *Ring) countWanted() {
	r.wanted.Store(r.payloads || slices.ContainsFunc(r.followers, func(f *Follower) bool { return f.filter.Payload }))
}

// wantsPayload reports whether the CloudEvent of an event is to be kept.
func (r *Ring) wantsPayload(event *Event) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.payloads || slices.ContainsFunc(r.followers, func(f *Follower) bool { return f.filter.Payload && f.filter.matches(event) })
}

// shrink drops the oldest payloads while there are too many; the last one stays, whatever its size. The lock must be held.
func (r *Ring) shrink() {
	for r.bytes > payloadBudget && r.stripped < r.next-1 {
		if e := r.at(r.stripped); e != nil {
			r.bytes -= len(e.event.Event)
			e.event.Event = nil
		}
		r.stripped++
	}
}

// at returns the entry with a number, nil if it was overwritten. The lock must be held.
func (r *Ring) at(number uint64) *entry {
	if number == 0 || number >= r.next {
		return nil
	}
	e := &r.last.list[(number-1)%size]
	if e.number != number {
		return nil
	}
	return e
}

// Recent returns up to limit of the last events that a filter selects, the oldest first.
func (r *Ring) Recent(filter Filter, limit int) []Event {
	found, _ := r.recent(filter, limit)
	return found
}

// recent also returns the number of the next event, so that a follower can continue.
func (r *Ring) recent(filter Filter, limit int) (found []Event, next uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for number := r.next - 1; len(found) < limit; number-- {
		e := r.at(number)
		if e == nil {
			break
		}
		found = filter.appendTo(found, e.event)
	}
	for i := range failedSize { // those that were overwritten in last
		e := &r.failed.list[(r.failed.at+failedSize-1-i)%failedSize]
		if e.number == 0 || len(found) >= limit {
			break
		}
		if r.at(e.number) == nil {
			found = filter.appendTo(found, e.event)
		}
	}
	slices.Reverse(found)
	return found, r.next
}

func (f *Filter) appendTo(list []Event, event Event) []Event {
	if !f.matches(&event) {
		return list
	}
	if !f.Payload {
		event.Event = nil
	}
	return append(list, event)
}
