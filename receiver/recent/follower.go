package recent

import (
	"context"
	"errors"
	"slices"
)

// maxRead is how many entries are looked at while the ring is locked: recording waits as long.
const maxRead = 256

// ErrClosed means that the receiver stops.
var ErrClosed = errors.New("the receiver stops")

// Follower reads the events of a ring as they come.
type Follower struct {
	ring   *Ring
	filter Filter
	next   uint64 // number of the next entry to read; only the reader uses it
	woken  chan struct{}
}

// Follow returns up to limit of the last events that a filter selects, and a follower of those that come. The caller must stop it.
func (r *Ring) Follow(filter Filter, limit int) ([]Event, *Follower) {
	f := &Follower{ring: r, filter: filter, woken: make(chan struct{}, 1)}
	var found []Event
	found, f.next = r.recent(filter, limit)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.followers = append(r.followers, f)
	r.countWanted()
	f.wake() // there may be more since
	return found, f
}

// Stop ends the follower.
func (f *Follower) Stop() {
	f.ring.mu.Lock()
	defer f.ring.mu.Unlock()
	f.ring.followers = slices.DeleteFunc(f.ring.followers, func(other *Follower) bool { return other == f })
	f.ring.countWanted()
}

// Next waits for events, and returns those that the filter selects, and how many were skipped because they were overwritten, or lost
// their CloudEvent, before they could be read. Whether the filter selects an overwritten event is not known: it is counted.
func (f *Follower) Next(ctx context.Context) (found []Event, skipped uint64, err error) {
	for {
		found, skipped, more := f.read()
		switch {
		case len(found) > 0 || skipped > 0:
			return found, skipped, nil
		case more:
			continue
		case f.ring.isClosed():
			return nil, 0, ErrClosed
		}
		select {
		case <-f.woken:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// read reads up to maxRead entries, and reports whether there are more.
func (f *Follower) read() (found []Event, skipped uint64, more bool) {
	f.ring.mu.Lock()
	defer f.ring.mu.Unlock()
	if oldest := f.ring.next - min(f.ring.next-1, size); f.next < oldest {
		skipped, f.next = oldest-f.next, oldest
	}
	for range maxRead {
		e := f.ring.at(f.next)
		if e == nil {
			break
		}
		f.next++
		if f.filter.Payload && e.event.Event == nil && e.number < f.ring.stripped && f.filter.matches(&e.event) {
			skipped++
			continue
		}
		found = f.filter.appendTo(found, e.event)
	}
	return found, skipped, f.next < f.ring.next
}

// wake makes Next look again. It never blocks.
func (f *Follower) wake() {
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

func (r *Ring) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}
