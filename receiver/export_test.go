package receiver

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// FillDeliveredCache adds n events to a cache of the size. It returns the lookup by number, and how many the cache holds.
func FillDeliveredCache(size, n int) (has func(int) bool, count int) {
	cache := newDeliveredCache(size)
	key := func(i int) deliveredKey { return deliveredKeyOf("", strconv.Itoa(i)) }
	for i := range n {
		cache.add(key(i))
	}
	return func(i int) bool { return cache.has(key(i)) }, len(cache.current) + len(cache.previous)
}

// Bounds that tests check.
const (
	FirstBuffer = firstBuffer
	HTTP2Buffer = http2Buffer
	ReadTimeout = readTimeout
	ScarceGrace = scarceGrace
	ScarceRate  = scarceRate
)

// InflightBytes returns how many bytes the bodies of all requests have reserved.
func (h *Handler) InflightBytes() int64 {
	h.inflight.mu.Lock()
	defer h.inflight.mu.Unlock()
	return h.inflight.size - h.inflight.free
}

// ByteLimiter limits the memory for bodies. A body is named by its number: lower numbers are older.
func ByteLimiter(size, largest int64) (acquire func(ctx context.Context, body, bytes int64) error, release func(bytes int64)) {
	limiter := newByteLimiter(size, largest)
	return limiter.acquire, limiter.release
}

// AcquireParsing takes all turns of large bodies, and returns what ends them.
func (h *Handler) AcquireParsing() (release func()) {
	for range cap(h.parsing) {
		h.parsing <- struct{}{}
	}
	return func() {
		for range cap(h.parsing) {
			<-h.parsing
		}
	}
}

// ReadForm reads a form of an announced length, with so much memory for bodies. It returns how much of it the form holds.
func ReadForm(ctx context.Context, body io.Reader, announced, size int64) (form mandrill.Form, held int64, err error) {
	memory := reservation{limiter: newByteLimiter(size, size/4)}
	defer memory.release()
	deadline := newBodyDeadline(httptest.NewRecorder(), memory.limiter)
	reader := bodyReader{
		reader: body, announced: announced, limit: size / 4, memory: &memory, deadline: deadline, parsing: newParseLimit(), form: &mandrill.FormDecoder{},
	}
	decoded, err := reader.readAll(ctx)
	if err != nil {
		return nil, memory.held, err
	}
	form, err = reader.form.Form(decoded)
	return form, memory.held, err
}

// ParseLimit is the semaphore for parsing large bodies.
func ParseLimit() (acquire func(size int) (release func())) { return newParseLimit().acquire }

// Outcomes returns every outcome of a request, for the test that must produce all of them.
func Outcomes() []string {
	outcomes := []string{outcomeAccepted, outcomeProbe}
	for _, answer := range answers {
		outcomes = append(outcomes, answer.outcome)
	}
	return outcomes
}

// AnswerError answers a request with an error. No request is known to cause an internal error, so a test injects one.
func (h *Handler) AnswerError(w http.ResponseWriter, r *http.Request, err error) {
	r = h.tracer.StartBatch(r)
	h.answer(r.Context(), w, h.now(), summary{}, err)
}
