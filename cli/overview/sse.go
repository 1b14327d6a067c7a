package overview

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxMessage bounds a message of a receiver: the state of 100 webhooks and 50 events are far smaller.
const maxMessage = 4 << 20

// readStream calls a function with each server-sent event, until the stream ends, which is io.EOF.
func readStream(body io.Reader, call func(name string, data []byte) error) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxMessage)
	name := ""
	for lines.Scan() {
		line := lines.Bytes()
		if value, ok := bytes.CutPrefix(line, []byte("event: ")); ok {
			name = string(value)
			continue
		}
		if value, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			if err := call(name, value); err != nil {
				return err
			}
		}
		if len(line) == 0 {
			name = ""
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("the connection was lost: %w", err)
	}
	return io.EOF
}

// stream writes server-sent events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func newStream(w http.ResponseWriter) *stream {
	s := &stream{w, http.NewResponseController(w)}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	_ = s.control.Flush() // the browser knows at once that there is a stream
	return s
}

func (s *stream) send(name string, value any) error {
	data, err := json.Marshal(value) // never has a line break
	if err != nil {
		return fmt.Errorf("encoding a message: %w", err)
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // not all writers have one
	if _, err := fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", name, data); err != nil {
		return fmt.Errorf("writing to the browser: %w", err)
	}
	if err := s.control.Flush(); err != nil {
		return fmt.Errorf("writing to the browser: %w", err)
	}
	return nil
}
