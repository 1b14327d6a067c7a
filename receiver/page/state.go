package page

import (
	"context"
	"sync"

	"github.com/mandrill-operator/mandrill-operator/receiver/page/site"
	"github.com/mandrill-operator/mandrill-operator/version"
)

// stateCache has the last state, so that many pages cost as much as one.
type stateCache struct {
	mu   sync.Mutex
	last *site.State
}

// state returns the state of the moment, or one that is less than an interval old.
func (p *page) state(ctx context.Context) *site.State {
	p.states.mu.Lock()
	defer p.states.mu.Unlock()
	now := p.options.Now()
	if last := p.states.last; last != nil && now.Sub(last.At) < site.StateInterval*9/10 && !now.Before(last.At) {
		return last
	}
	state := &site.State{
		API: site.API, Receiver: p.options.Receiver, Version: version.Get().Version, At: now.UTC(), Payloads: p.options.Payloads,
		Buffer: p.options.State.Buffer(),
	}
	if err := p.options.Ready(ctx); err != nil {
		state.NotReady = err.Error()
	}
	state.SetWebhooks(p.options.State.Snapshot())
	p.states.last = state
	return state
}
