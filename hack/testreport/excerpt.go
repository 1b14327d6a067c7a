package main

import (
	"fmt"
	"strings"
)

// What is shown of one output: the first faults, and how it ended. A diff of two large values can be one line of megabytes, so
// characters are bounded as well as lines.
const (
	headLines, headSize = 120, 12_000
	tailLines, tailSize = 80, 8_000
	lineSize            = 500
)

// excerpt keeps the beginning and the end of an output. Its size is bounded, however much is added.
type excerpt struct {
	head, tail         []string
	headSize, tailSize int
	left               int // lines between head and tail that were left out
}

// add appends a line, or a part of one, without the lines that only say which test runs.
func (e *excerpt) add(line string) {
	if strings.HasPrefix(line, "=== ") {
		return
	}
	line = shorten(line)
	if len(e.tail) == 0 && len(e.head) < headLines && e.headSize+len(line) <= headSize {
		e.head = append(e.head, line)
		e.headSize += len(line)
		return
	}
	e.tail = append(e.tail, line)
	e.tailSize += len(line)
	for len(e.tail) > tailLines || e.tailSize > tailSize {
		e.tailSize -= len(e.tail[0])
		e.tail = e.tail[1:]
		e.left++
	}
}

// last returns the last line.
func (e *excerpt) last() string {
	lines := e.tail
	if len(lines) == 0 {
		lines = e.head
	}
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

// String returns the excerpt; place says where the whole output is, if anywhere.
func (e *excerpt) String(place string) string {
	var b strings.Builder
	for _, line := range e.head {
		b.WriteString(line)
	}
	if e.left > 0 {
		fmt.Fprintf(&b, "    ... %d lines are left out%s\n", e.left, place)
	}
	for _, line := range e.tail {
		b.WriteString(line)
	}
	if text := b.String(); text != "" && !strings.HasSuffix(text, "\n") {
		return text + "\n"
	}
	return b.String()
}

// shorten leaves out the end of a long line.
func shorten(line string) string {
	if len(line) <= lineSize {
		return line
	}
	return fmt.Sprintf("%s ... %d characters are left out\n", strings.ToValidUTF8(line[:lineSize], ""), len(line)-lineSize)
}
