package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// maxLines is how many events are told of one by one in lineInterval. The others are counted, so that the story can be read.
	maxLines     = 20
	lineInterval = time.Second
)

// narrator tells what happens, one line an event. In JSON mode standard output has the events, and standard error the rest.
type narrator struct {
	out, steps io.Writer
	json       bool

	mu    sync.Mutex // guards what follows, and the writers
	begun time.Time
	lines int
	more  int
	timer *time.Timer
	now   func() time.Time
}

func newNarrator(stdout, stderr io.Writer, asJSON bool) *narrator {
	n := &narrator{out: stdout, steps: stdout, json: asJSON, now: time.Now}
	if asJSON {
		n.steps = stderr
	}
	return n
}

// say tells a step.
func (n *narrator) say(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.summarize()
	_, _ = fmt.Fprintf(n.steps, format+"\n", args...)
}

// event tells of an event: in JSON mode the event itself, otherwise a line unless there were many.
func (n *narrator) event(line string, whole []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.json {
		_, err := fmt.Fprintf(n.out, "%s\n", whole)
		return err
	}
	now := n.now()
	if now.Sub(n.begun) >= lineInterval {
		n.summarize()
		n.begun, n.lines = now, 0
	}
	if n.lines++; n.lines > maxLines {
		n.more++
		if n.timer == nil {
			n.timer = time.AfterFunc(lineInterval, n.tick)
		}
		return nil
	}
	_, err := fmt.Fprintf(n.out, "  %s  %s\n", now.Format(time.TimeOnly), line)
	return err
}

// tick tells of the events that were only counted.
func (n *narrator) tick() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.timer = nil
	n.summarize()
}

// summarize needs the lock.
func (n *narrator) summarize() {
	if n.more > 0 {
		_, _ = fmt.Fprintf(n.out, "  %s  … and %d more\n", n.now().Format(time.TimeOnly), n.more)
		n.more = 0
	}
}

func (n *narrator) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.timer != nil {
		n.timer.Stop()
	}
	n.summarize()
}
