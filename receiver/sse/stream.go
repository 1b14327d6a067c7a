// Package sse writes and reads server-sent events.
package sse

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// writeTimeout is how long a client may not read.
const writeTimeout = 30 * time.Second

// Stream writes server-sent events.
type Stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// NewStream begins an answer of server-sent events.
func NewStream(w http.ResponseWriter) *Stream {
	s := &Stream{w, http.NewResponseController(w)}
	_ = s.control.SetReadDeadline(time.Time{}) // the server's would end the stream; a client that has gone ends its context
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // proxies must not collect messages
	return s
}

// Send writes a message. An empty name is that of a plain message.
func (s *Stream) Send(name string, value any) error {
	data, err := json.Marshal(value) // never has a line break
	if err != nil {
		return fmt.Errorf("encoding a message: %w", err)
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // not all writers have one
	if name != "" {
		if _, err = fmt.Fprintf(s.w, "event: %s\n", name); err != nil {
			return fmt.Errorf("writing to the client: %w", err)
		}
	}
	if _, err = fmt.Fprintf(s.w, "data: %s\n\n", data); err != nil {
		return fmt.Errorf("writing to the client: %w", err)
	}
	return nil
}

// KeepAlive writes a comment, so that a client that has gone is noticed.
func (s *Stream) KeepAlive() error {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := fmt.Fprint(s.w, ":\n\n"); err != nil {
		return fmt.Errorf("writing to the client: %w", err)
	}
	return s.Flush()
}

// Flush sends what was written.
func (s *Stream) Flush() error {
	if err := s.control.Flush(); err != nil {
		return fmt.Errorf("writing to the client: %w", err)
	}
	return nil
}
