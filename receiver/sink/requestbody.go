package sink

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/sink/http1"
)

var errRequestEnded = errors.New("the request has ended")

// requestBody is the body of a request by net/http. A server may answer before it has read the body, and net/http then still reads it when
// the caller has the answer. By then the buffer may have the events of another webhook, so there is nothing to read after the end.
type requestBody struct {
	mu      sync.Mutex // guards what follows
	content []byte
	ended   bool
	open    int           // readers
	closed  chan struct{} // when none is open
}

func newRequestBody(content []byte) *requestBody {
	return &requestBody{content: content, closed: make(chan struct{}, 1)}
}

// end gives a server that has answered early a moment to read the rest, and lets all later reads fail.
func (b *requestBody) end() {
	if b.isOpen() {
		select {
		case <-b.closed:
		case <-time.After(http1.UnsentGrace):
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.content, b.ended = nil, true
}

func (b *requestBody) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open > 0
}

// reader reads the body from its beginning. There may be several: net/http repeats a request on a connection that was closed meanwhile.
func (b *requestBody) reader() io.ReadCloser {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open++
	return &bodyReader{body: b}
}

// bodyReader reads a body.
type bodyReader struct {
	body   *requestBody
	at     int
	closed bool
}

func (r *bodyReader) Read(p []byte) (int, error) {
	r.body.mu.Lock()
	defer r.body.mu.Unlock()
	switch {
	case r.body.ended:
		return 0, errRequestEnded
	case r.at == len(r.body.content):
		return 0, io.EOF
	}
	n := copy(p, r.body.content[r.at:])
	r.at += n
	return n, nil
}

// Close implements [io.Closer]: net/http calls it when it does not read any more, maybe several times.
func (r *bodyReader) Close() error {
	r.body.mu.Lock()
	defer r.body.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	if r.body.open--; r.body.open == 0 {
		select {
		case r.body.closed <- struct{}{}:
		default: // a reader before it was closed as well
		}
	}
	return nil
}
