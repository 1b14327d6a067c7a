package sse

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

// maxMessage bounds a message that is read: the state of 100 webhooks and 50 events are far smaller.
const maxMessage = 4 << 20

// Read calls a function with each server-sent event, until the stream ends, which is io.EOF.
func Read(body io.Reader, call func(name string, data []byte) error) error {
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
