package delivery

import (
	"cmp"
	"slices"
	"sync"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
)

// changes are the webhooks whose change matters and was not taken yet. There are at most as many as webhooks.
type changes struct {
	wake chan struct{} // holds an element while something is to be taken

	mu       sync.Mutex // guards what follows
	webhooks map[*Webhook]struct{}
}

func newChanges() changes {
	return changes{wake: make(chan struct{}, 1), webhooks: map[*Webhook]struct{}{}}
}

func (c *changes) add(w *Webhook) {
	c.mu.Lock()
	c.webhooks[w] = struct{}{}
	c.mu.Unlock()
	c.signal()
}

func (c *changes) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// keepOnly forgets the webhooks that have no route any more.
func (c *changes) keepOnly(webhooks map[string]*Webhook) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.webhooks {
		if webhooks[w.name] != w {
			delete(c.webhooks, w)
		}
	}
}

func (c *changes) take() []*Webhook {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.wake:
	default:
	}
	list := make([]*Webhook, 0, len(c.webhooks))
	for w := range c.webhooks {
		list = append(list, w)
	}
	clear(c.webhooks)
	slices.SortFunc(list, func(a, b *Webhook) int { return cmp.Compare(a.name, b.name) })
	return list
}

// Changed returns a channel that holds an element when something changed that somebody should hear of at once: a sink starts
// failing or recovers, a circuit opens or closes, a webhook is new, or gets its first dead letter or a bad signature, or the state of
// the buffer is another one, or this process begins or ends to deliver it.
func (s *State) Changed() <-chan struct{} { return s.changes.wake }

// Moved says that this process begins or ends to deliver some webhooks of a shared buffer: what waits of them is counted by another one.
func (s *State) Moved(delivers func(webhook string) bool) {
	if s == nil {
		return
	}
	for name, w := range *s.webhooks.Load() {
		if delivers(name) {
			s.changes.add(w)
		}
	}
}

// Changes returns the webhooks that changed since the last call.
func (s *State) Changes() []reports.Webhook { return s.snapshot(s.changes.take()) }
