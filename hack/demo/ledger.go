package main

import (
	"fmt"
	"sync"
	"time"
)

// lostAfter is how long an event may be on its way while everything works. After that it is lost: Mandrill's first retry, and the
// longest pause of the receiver after a break of the sink, are over.
const lostAfter = 90 * time.Second

// ledger counts what was sent and what arrived.
type ledger struct {
	mu       sync.Mutex
	sent     map[string]time.Time // by the event's bytes
	arrived  map[string]int
	total    int // of events that were sent and have arrived
	repeated int
	strange  int // that nobody sent
	forged   int
	accepted int       // forged batches that were
	trouble  time.Time // when somebody last broke something
	now      func() time.Time
}

func newLedger() *ledger {
	return &ledger{sent: map[string]time.Time{}, arrived: map[string]int{}, now: time.Now}
}

// expect records events that are sent. They may have arrived already.
func (l *ledger) expect(events []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, event := range events {
		if _, known := l.sent[event]; known {
			continue
		}
		l.sent[event] = l.now()
		if l.arrived[event] > 0 {
			l.strange--
			l.total++
		}
	}
}

// arrive records an event that arrived, and reports whether it did before.
func (l *ledger) arrive(event string) (repeated bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrived[event]++
	_, known := l.sent[event]
	switch {
	case l.arrived[event] > 1:
		l.repeated++
		return true
	case known:
		l.total++
	default:
		l.strange++
	}
	return false
}

// forge records a forged batch.
func (l *ledger) forge(accepted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forged++
	if accepted {
		l.accepted++
	}
}

// harm records that something is broken now: events are late, and not lost.
func (l *ledger) harm() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trouble = l.now()
}

// missing counts the events that are on their way, and those that are lost. It needs the lock.
func (l *ledger) missing() (onTheWay, lost int) {
	now := l.now()
	for event, at := range l.sent {
		switch {
		case l.arrived[event] > 0:
		case now.Sub(at) > lostAfter && now.Sub(l.trouble) > lostAfter:
			lost++
		default:
			onTheWay++
		}
	}
	return onTheWay, lost
}

func (l *ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	onTheWay, lost := l.missing()
	text := fmt.Sprintf("sent %d · arrived %d · lost %d · forged %d accepted", len(l.sent), l.total, lost, l.accepted)
	if onTheWay > 0 {
		text += fmt.Sprintf(" · on the way %d", onTheWay)
	}
	if l.repeated > 0 {
		text += fmt.Sprintf(" · %d arrived again, with the same id", l.repeated)
	}
	return text
}
