package receiver

import (
	"context"
	"net/http"
	"strconv"

	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// Remember fills a memory of a size with n events. It returns whether one is remembered, and how many are.
func FillDeliveredCache(size, n int) (has func(int) bool, count int) {
	m := newDeliveredCache(size)
	key := func(i int) deliveredKey { return deliveredKeyOf(&routing.Route{}, strconv.Itoa(i)) }
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
func ByteLimiter(size, largest int64) (take func(ctx context.Context, body, bytes int64) error, give func(int64)) {
	b := newByteLimiter(size, largest)
	return b.acquire, b.release
}

// ParseLimit is the semaphore for large bodies: acquire returns what releases it.
func ParseLimit() (acquire func(size int) (release func())) { return newParseLimit().acquire }

// Outcomes are all that a request can have, for tests that must see every one.
func Outcomes() []string {
	outcomes := []string{outcomeAccepted, outcomeProbe}
	for _, answer := range answers {
		outcomes = append(outcomes, answer.outcome)
	}
	return outcomes
}

// Fail answers a request with an error, because nothing is known to lead to a fault of ours.
func (h *Handler) AnswerError(w http.ResponseWriter, r *http.Request, err error) {
	r = h.tracer.StartBatch(r)
	h.answer(r.Context(), w, h.now(), summary{}, err)
}
