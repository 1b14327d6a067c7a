package store

import (
	"sync"
	"unsafe"
	"weak"
)

// recentEvents finds large events that are still in memory, so that a second copy of them is not read: most are delivered while the
// request that brought them is answered. It does not keep them in memory itself. Its zero value has none.
type recentEvents struct {
	mu     sync.Mutex
	events [8]recentEvent
	next   int
}

type recentEvent struct {
	name   string
	first  weak.Pointer[byte]
	length int
}

// add remembers an event, and forgets the oldest one.
func (r *recentEvents) add(name string, raw []byte) {
	if len(raw) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events[r.next] = recentEvent{name, weak.Make(&raw[0]), len(raw)}
	r.next = (r.next + 1) % len(r.events)
}

// get returns an event, or nil when it is not in memory any more.
func (r *recentEvents) get(name string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, event := range r.events {
		if event.name != name {
			continue
		}
		if first := event.first.Value(); first != nil {
			return unsafe.Slice(first, event.length) //nolint:gosec // a pointer to its first byte keeps all of it
		}
	}
	return nil
}

// forget removes an event that is no longer stored.
func (r *recentEvents) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.events {
		if r.events[i].name == name {
			r.events[i] = recentEvent{}
		}
	}
}
