package sse

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxMessage bounds a message that is read: the state of 100 webhooks and 50 events are far smaller.
const maxMessage = 4 << 20

// ErrLost is the end of a stream, whether the server has ended it or the connection was cut.
var ErrLost = errors.New("the connection was lost")

// Read calls a function with each server-sent event, until that returns an error or the stream ends, which is [ErrLost].
func Read(body io.Reader, call func(name string, data []byte) error) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxMessage)
	lines.Split(wholeLines)
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
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("it has sent a message of more than %d MiB", maxMessage>>20)
	}
	return ErrLost
}

// wholeLines is [bufio.ScanLines] without what the end of the stream has cut off.
func wholeLines(data []byte, atEOF bool) (advance int, line []byte, err error) {
	if atEOF && bytes.IndexByte(data, '\n') < 0 {
		return len(data), nil, nil
	}
	return bufio.ScanLines(data, atEOF)
}
