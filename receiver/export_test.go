package receiver

import (
	"context"
	"net/http"
	"strconv"
)

// Remember fills a memory of a size with n events. It returns whether one is remembered, and how many are.
func Remember(size, n int) (has func(int) bool, count int) {
	m := newDeliveredCache(size)
	key := func(i int) deliveredKey { return keyOf(&Route{}, strconv.Itoa(i)) }
	for i := range n {
		m.add(key(i))
	}
	return func(i int) bool { return m.has(key(i)) }, len(m.current) + len(m.previous)
}

// Bounds for tests that must see them kept.
const (
	FirstBuffer = firstBuffer
	HTTP2Buffer = http2Buffer
	ReadTimeout = readTimeout
	ScarceGrace = scarceGrace
	ScarceRate  = scarceRate
)

// InflightBytes is what the bodies of all requests have taken.
func (h *Handler) InflightBytes() int64 {
	h.inflight.mu.Lock()
	defer h.inflight.mu.Unlock()
	return h.inflight.size - h.inflight.free
}

// Shares is the memory for bodies of a largest size: take takes some for a body by its number, give gives some back.
func Shares(size, largest int64) (take func(ctx context.Context, body, bytes int64) error, give func(int64)) {
	b := newByteLimiter(size, largest)
	return b.acquire, b.release
}

// Turns is how bodies are worked on.
func Turns() func(size int, work func()) { return newParseLimit().do }

// Outcomes are all that a request can have, for tests that must see every one.
func Outcomes() []string {
	outcomes := []string{outcomeAccepted, outcomeProbe}
	for _, answer := range answers {
		outcomes = append(outcomes, answer.outcome)
	}
	return outcomes
}

// Fail answers a request with an error, because nothing is known to lead to a fault of ours.
func (h *Handler) Fail(w http.ResponseWriter, r *http.Request, err error) {
	r = h.tracer.startBatch(r)
	h.finish(r.Context(), w, &requestLog{start: h.now()}, err)
}

// Allowance is for tests of its own.
type Allowance struct{ *allowance }

// NewAllowance returns one.
func NewAllowance(size int64) Allowance { return Allowance{newAllowance(size)} }

// Take, Try, Force and Give are those of an allowance.
func (a Allowance) Take(ctx context.Context, bytes int64) error { return a.take(ctx, bytes) }
func (a Allowance) Try(bytes int64) bool                        { return a.try(bytes) }
func (a Allowance) Force(bytes int64)                           { a.force(bytes) }
func (a Allowance) Give(bytes int64)                            { a.give(bytes) }

// Taken is how much of its memory a dispatcher uses.
func (d *Dispatcher) Taken() (sum int64) {
	for _, a := range []*allowance{d.memory, d.failingMemory} {
		a.mu.Lock()
		sum += a.taken
		a.mu.Unlock()
	}
	return sum
}
