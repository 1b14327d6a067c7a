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

const (
	// estimatedPart is the part of the memory for bodies up to which the size of a body is estimated: if the estimate is too low, the
	// buffer grows once more, while memory for both copies is needed.
	estimatedPart = 16
	// fullPart is the part of a buffer that is too little to read into.
	fullPart = 8
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
	undecoded int64                 // of them
	estimated bool                  // the buffer has an estimated size
}

// readAll reads to the end. With an error it returns what is there of the body.
func (b *bodyReader) readAll(ctx context.Context) ([]byte, error) {
	var body []byte
	for {
		if b.full(body) {
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
		switch {
		case errors.Is(err, io.EOF):
			decoded, _ := b.decode(body) // the deadline must not change any more: it would end the request
			return decoded, nil
		case err != nil:
			return body, err
		case len(body) == cap(body), b.undecoded >= max(decodedPiece, b.arrived/decodedPart):
			b.deadline.suspendFor(func() (more int64) {
				body, more = b.decode(body)
				return more
			})
		}
	}
}

// decode decodes what has arrived. It returns how many bytes this took out of the buffer: the sender must send as many more to fill it.
func (b *bodyReader) decode(body []byte) (decoded []byte, removed int64) {
	piece := b.undecoded
	b.undecoded = 0
	if b.form == nil {
		return body, 0
	}
	defer b.parsing.acquire(int(piece))()
	decoded = body[:b.form.Decode(body)]
	removed = int64(len(body) - len(decoded))
	if b.form.Failed() && cap(body) > firstBuffer { // nothing is kept of the rest
		b.memory.shrink(int64(cap(body)) - firstBuffer)
		decoded = make([]byte, 0, firstBuffer)
	}
	return decoded, removed
}

// full reports whether the buffer must grow before more is read: too little of it is left, and probably not enough.
func (b *bodyReader) full(body []byte) bool {
	left := cap(body) - len(body)
	if left == 0 || left >= cap(body)/fullPart || b.undecoded > 0 {
		return left == 0
	}
	rest, known := b.rest(int64(len(body)))
	return !known || rest >= int64(left)
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
// of a body that is not large is estimated, once.
func (b *bodyReader) needed(decoded int64) (size int64, estimated bool) {
	rest, known := b.rest(decoded)
	if !known {
		return 0, false
	}
	missing := b.announced - b.arrived
	if !b.estimated && b.announced <= b.memory.limiter.size/estimatedPart && rest < missing {
		return decoded + rest + 1, true
	}
	return decoded + missing + 1, false
}

// rest estimates how many bytes the rest of the announced length becomes: it has about as many escapes as what has arrived, or somewhat
// fewer.
func (b *bodyReader) rest(decoded int64) (bytes int64, known bool) {
	missing := b.announced - b.arrived
	if b.announced <= 0 || missing < 0 {
		return 0, false
	}
	if b.arrived == 0 {
		return missing, true
	}
	rest := int64(float64(missing) * float64(decoded) / float64(b.arrived))
	return min(missing, rest+rest/16+firstBuffer), true
}
