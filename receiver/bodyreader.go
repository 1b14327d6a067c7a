package receiver

import (
	"context"
	"errors"
	"io"
)

// bodyReader reads a body into one buffer that grows as bytes arrive. Each growth is reserved in the memory for bodies
// first, and gives the sender time to fill it.
type bodyReader struct {
	reader    io.Reader
	announced int64 // length, or 0 or less
	limit     int64
	memory    *reservation
	deadline  *bodyDeadline
}

// readAll reads to the end. With an error it returns the bytes that arrived.
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
		n, err := b.reader.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			return body, nil
		}
		if err != nil {
			return body, err
		}
	}
}

// grow doubles the buffer. It takes the announced length once a quarter of it has arrived, so that an announcement alone
// costs next to nothing. A large buffer grows to four times its size on the way there: smaller ones are garbage afterwards.
func (b *bodyReader) grow(ctx context.Context, body []byte) ([]byte, error) {
	before := int64(cap(body))
	after := min(max(firstBuffer, 2*before), b.limit+1) // one byte more, to see the end
	if want := b.announced + 1; b.announced > 0 && want > before {
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
	b.deadline.extend(after - before)
	return grown, nil
}
