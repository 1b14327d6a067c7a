package sse_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mandrill-operator/mandrill-operator/receiver/sse"
)

// A stream that is cut off in any way is lost, and what came before it has been read.
func TestReadToTheEnd(t *testing.T) {
	t.Parallel()
	const messages = "event: state\ndata: 1\n\n: comment\n\ndata: 2\n\n"
	errRefused := errors.New("not for us")
	for name, test := range map[string]struct {
		body io.Reader
		want string
	}{
		"ended":            {strings.NewReader(messages), "the connection was lost"},
		"cut off":          {io.MultiReader(strings.NewReader(messages), iotest.ErrReader(io.ErrUnexpectedEOF)), "the connection was lost"},
		"inside a message": {io.MultiReader(strings.NewReader(messages+`data: {"a":`), iotest.ErrReader(io.ErrUnexpectedEOF)), "the connection was lost"},
		"reset":            {io.MultiReader(strings.NewReader(messages), iotest.ErrReader(errors.New("read 10.0.0.1:8080: reset"))), "the connection was lost"},
		"too long":         {strings.NewReader(messages + "data: " + strings.Repeat("x", 5<<20)), "it has sent a message of more than 4 MiB"},
		"refused":          {strings.NewReader(messages + "data: refuse\n\n" + messages), errRefused.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			err := sse.Read(test.body, func(name string, data []byte) error {
				if string(data) == "refuse" {
					return errRefused
				}
				got = append(got, name+"="+string(data))
				return nil
			})
			if err == nil || err.Error() != test.want || errors.Is(err, sse.ErrLost) != strings.HasPrefix(test.want, "the connection") {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if all := strings.Join(got, " "); all != "state=1 =2" {
				t.Errorf("it has read %q", all)
			}
		})
	}
}
