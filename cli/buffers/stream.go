package buffers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
)

// stream runs a subcommand in a buffer, and writes what it prints as it comes. The timeout bounds the time without output: a receiver
// works on many dead letters as long as it takes.
func (t *tool) stream(ctx context.Context, buffer access.Buffer, stdin io.Reader, out io.Writer, args ...string) error {
	bounded, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(t.timeout, func() { cancel(context.DeadlineExceeded) })
	defer silent.Stop()
	return t.cluster.RunInBuffer(bounded, buffer, args, stdin, writerFunc(func(data []byte) (int, error) {
		silent.Reset(t.timeout)
		return out.Write(data)
	}))
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(data []byte) (int, error) { return f(data) }

// asking shows which buffer is asked.
func (t *tool) asking(i int) {
	if len(t.buffers) > 1 && t.format == output.Table && output.Interactive(t.env.Err) {
		_, _ = fmt.Fprintf(t.env.Err, "asking %s (%d of %d)\n", t.buffers[i].Name, i+1, len(t.buffers)) // progress only
	}
}

// eachValue runs a subcommand in every buffer, and calls a function with each JSON value that it prints, as it comes: those of an array, or
// those of lines. A buffer that fails is named, and the others are asked all the same.
func eachValue[T any](ctx context.Context, t *tool, args []string, call func(buffer access.Buffer, value T) error) error {
	for i, buffer := range t.buffers {
		t.asking(i)
		values, printed := io.Pipe()
		decoded := make(chan error, 1)
		go func() {
			err := decodeValues(values, func(value T) error { return call(buffer, value) })
			_ = values.CloseWithError(errors.Join(err, io.ErrClosedPipe)) // the subcommand must not wait for a reader
			decoded <- err
		}()
		err := t.stream(ctx, buffer, nil, printed, args...)
		_ = printed.Close()
		decodeErr := <-decoded
		syntax := new(syntaxError)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case decodeErr != nil && !errors.As(decodeErr, &syntax):
			return decodeErr
		case err == nil && decodeErr != nil:
			return fmt.Errorf("%s answered what cannot be read, maybe because its version is another: %w", buffer.Name, decodeErr)
		case err != nil:
			t.failed = true
			_, _ = fmt.Fprintf(t.env.Err, "kubectl mandrill: %v\n", err)
		}
	}
	return nil
}

// syntaxError is an answer that is not the JSON that was expected. It also ends too early when the subcommand fails.
type syntaxError struct{ error }

// decodeValues decodes the elements of an array, or values that follow each other, until the input ends, which may be before the first
// one. A newer receiver may have more fields.
func decodeValues[T any](r io.Reader, call func(T) error) error {
	input := bufio.NewReader(r)
	first, _ := input.Peek(1) // the decoder meets the error again
	decoder, array := json.NewDecoder(input), string(first) == "["
	if array {
		_, _ = decoder.Token() // the bracket
	}
	for !array || decoder.More() {
		var value T
		err := decoder.Decode(&value)
		switch {
		case errors.Is(err, io.EOF) && !array:
			return nil
		case err != nil:
			return &syntaxError{err}
		}
		if err := call(value); err != nil {
			return err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return &syntaxError{err}
	}
	return nil
}
