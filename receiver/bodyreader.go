package receiver

import (
	"context"
	"errors"
	"io"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// A body is decoded in pieces of decodedPiece, which the processor's cache holds, or of decodedPart of what has arrived: a large one
// does not wait for its turn too often.
const (
	decodedPiece = 256 << 10
	decodedPart  = 8
)

// estimatedPart is the part of the memory for bodies up to which the size of a body is estimated: if the estimate is too low, the
// buffer grows once more, while memory for both copies is needed.
const estimatedPart = 16

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
	undecoded int64                 // of them
	estimated bool                  // the buffer has an estimated size
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
		n, err := b.reader.Read(body[len(body):min(cap(body), len(body)+decodedPiece)])
		body = body[:len(body)+n]
		b.arrived += int64(n)
		b.undecoded += int64(n)
		if err != nil || len(body) == cap(body) || b.undecoded >= max(decodedPiece, b.arrived/decodedPart) {
			body = b.decode(body)
		}
		if errors.Is(err, io.EOF) {
			return body, nil
		}
		if err != nil {
			return body, err
		}
	}
}

// decode decodes what has arrived. The sender gets time for the bytes that this takes out of the buffer: it must send as many more to
// fill it.
func (b *bodyReader) decode(body []byte) (decoded []byte) {
	b.undecoded = 0
	if b.form == nil {
		return body
	}
	b.deadline.suspendFor(func() (more int64) {
		defer b.parsing.acquire(int(b.arrived))()
		decoded = body[:b.form.Decode(body)]
		return int64(len(body) - len(decoded))
	})
	return decoded
}

// grow doubles the buffer. It takes what the announced length needs once a quarter of that has arrived, so that an announcement alone
// costs next to nothing. A large buffer grows to four times its size on the way there: smaller ones are garbage afterwards.
func (b *bodyReader) grow(ctx context.Context, body []byte) ([]byte, error) {
	before := int64(cap(body))
	after := min(max(firstBuffer, 2*before), b.limit+1) // one byte more, to see the end
	if want, estimated := b.needed(int64(len(body))); want > before {
		switch {
		case want <= 2*after:
			after, b.estimated = want, estimated
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
	b.deadline.extend(after - before)
	return grown, nil
}

// needed is the size that the buffer needs for the announced length, and one byte more, to see the end; 0 if none was announced. The size
// of a body that is not large is estimated, once: the rest has about as many escapes as what has arrived.
func (b *bodyReader) needed(decoded int64) (size int64, estimated bool) {
	missing := b.announced - b.arrived
	if b.announced <= 0 {
		return 0, false
	}
	if b.arrived > 0 && !b.estimated && b.announced <= b.memory.limiter.size/estimatedPart {
		if rest := missing * decoded / b.arrived; rest+rest/16 < missing {
			return decoded + rest + rest/16 + 1, true
		}
	}
	return decoded + missing + 1, false
}
