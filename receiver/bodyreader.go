package receiver

import (
	"context"
	"errors"
	"io"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

const (
	// maxRead is how much is read at a time, and decoded while it is in the processor's cache.
	maxRead = 256 << 10
	// densityMargin is for the rest of a body that has fewer escapes than its beginning.
	densityMargin = 17. / 16
)

// bodyReader reads a body into one buffer that grows as bytes arrive. Each growth is reserved in the memory for bodies
// first, and gives the sender time to fill it.
type bodyReader struct {
	reader    io.Reader
	announced int64 // length, or 0 or less
	limit     int64
	memory    *reservation
	deadline  *bodyDeadline
	parsing   parseLimit
	form      *mandrill.FormDecoder // decodes what arrives, in the buffer; nil: the body stays as it is
	arrived   int64                 // bytes so far
}

// readAll reads to the end. With an error it returns what is there of the body.
func (b *bodyReader) readAll(ctx context.Context) ([]byte, error) {
	var body []byte
	for {
		if len(body) == cap(body) {
			grown, err := b.grow(ctx, body)
			if err != nil {
				return body, err
			}
			body = grown
		}
		n, err := b.reader.Read(body[len(body):min(cap(body), len(body)+maxRead)])
		b.arrived += int64(n)
		body = b.decode(body[:len(body)+n])
		if errors.Is(err, io.EOF) {
			return body, nil
		}
		if err != nil {
			return body, err
		}
	}
}

// decode decodes what arrived last.
func (b *bodyReader) decode(body []byte) []byte {
	if b.form == nil {
		return body
	}
	defer b.parsing.acquire(int(b.arrived))()
	return body[:b.form.Decode(body)]
}

// grow doubles the buffer. It takes what the announced length will probably need once a quarter of that has arrived, so that
// an announcement alone costs next to nothing. A large buffer grows to four times its size on the way there: smaller ones are
// garbage afterwards.
func (b *bodyReader) grow(ctx context.Context, body []byte) ([]byte, error) {
	before := int64(cap(body))
	after := min(max(firstBuffer, 2*before), b.limit+1) // one byte more, to see the end
	if want := b.expected(body); want > before {
		switch {
		case want <= 2*after:
			after = want
		case before >= largeBuffer:
			after = 4 * before
		}
	}
	b.deadline.suspend()
	if err := b.memory.grow(ctx, after); err != nil {
		return nil, err
	}
	grown := append(outgrown.take(after), body...)
	outgrown.put(body)
	b.memory.shrink(before)
	b.deadline.extend(int64(float64(after-before) / b.density(body)))
	return grown, nil
}

// expected is the size that the announced length will probably need, and one byte more to see the end; 0 if none was announced.
// If more is needed, the buffer grows once more.
func (b *bodyReader) expected(body []byte) int64 {
	if b.announced <= 0 {
		return 0
	}
	missing := max(0, b.announced-b.arrived)
	return int64(len(body)) + min(missing, int64(float64(missing)*b.density(body)*densityMargin)) + 1
}

// density is how many bytes in the buffer a byte that arrived has become: less than one when escapes are decoded.
func (b *bodyReader) density(body []byte) float64 {
	if len(body) == 0 {
		return 1
	}
	return float64(len(body)) / float64(b.arrived)
}
