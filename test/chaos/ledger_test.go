package chaos_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// ledger is what is known outside of the receivers: which events were acknowledged, and which arrived.
type ledger struct {
	mu         sync.Mutex
	events     []eventRecord // by serial
	batches    []int    // serials of the first event of each
	ordinals   map[string]int
	arrived    map[string]int // the highest ordinal of each message that arrived
	outOfOrder []string
	undelivered    int // acknowledged, and did not arrive
	acknowledged      int
	duplicates int
	changed    chan struct{}
}

// record is what is known of an event.
type eventRecord struct {
	batch    int32
	sender   int16
	acknowledged    bool
	arrivals uint16
	first    time.Time // when it arrived first
	last     time.Time
}

// event is what is sent.
type event struct {
	Event   string `json:"event"`
	ID      string `json:"_id"`
	Time    int64  `json:"ts"`
	Serial  int    `json:"serial"`
	Ordinal int    `json:"ordinal"` // among the events of its message
	Padding string `json:"padding,omitempty"`
}

// issued is a batch to be sent until it is acknowledged.
type sentBatch struct {
	first, events int
	raw           [][]byte
}

func newLedger() *ledger {
	return &ledger{ordinals: map[string]int{}, arrived: map[string]int{}, changed: make(chan struct{})}
}

// messages is how many messages a sender's events are of, in turn.
const messagesPerSender = 40

// issue makes a batch of a sender's next events. What is in padding makes each of them larger.
func (l *ledger) newBatch(sender, events int, padding func() string) *sentBatch {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch := &sentBatch{first: len(l.events), events: events}
	number := len(l.batches)
	l.batches = append(l.batches, batch.first)
	for i := range events {
		next := event{Event: "open", ID: fmt.Sprintf("s%d-m%d", sender, i%messagesPerSender), Time: 1767225600, Serial: len(l.events)}
		l.ordinals[next.ID]++
		next.Ordinal = l.ordinals[next.ID]
		if padding != nil {
			next.Padding = padding()
		}
		raw, err := json.Marshal(next)
		if err != nil {
			panic(err) // it is made of texts and numbers
		}
		batch.raw = append(batch.raw, raw)
		l.events = append(l.events, eventRecord{batch: int32(number), sender: int16(sender)})
	}
	return batch
}

// acknowledge takes note of a 200.
func (l *ledger) recordAck(batch *sentBatch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range batch.events {
		event := &l.events[batch.first+i]
		event.acknowledged = true
		l.acknowledged++
		if event.arrivals == 0 {
			l.undelivered++
		}
	}
	l.signal()
}

// arrive takes note of an event that a sink has accepted.
func (l *ledger) recordArrival(body []byte) error {
	var came event
	if err := json.Unmarshal(body, &came); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if came.Serial >= len(l.events) || came.ID == "" {
		return fmt.Errorf("nobody has sent event %d", came.Serial)
	}
	now, known := time.Now(), &l.events[came.Serial]
	known.arrivals++
	known.last = now
	if known.arrivals > 1 {
		l.duplicates++
		return nil
	}
	known.first = now
	if known.acknowledged {
		l.undelivered--
	}
	if came.Ordinal < l.arrived[came.ID] {
		l.outOfOrder = append(l.outOfOrder, fmt.Sprintf("%s: event %d after %d", came.ID, came.Ordinal, l.arrived[came.ID]))
	}
	l.arrived[came.ID] = max(l.arrived[came.ID], came.Ordinal)
	l.signal()
	return nil
}

func (l *ledger) signal() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// stall is how long nothing may arrive before what is missing is called lost. It is longer than a sink's circuit is open.
const stallTimeout = 45 * time.Second

// until waits for a condition, as long as something goes on.
func (l *ledger) waitFor(t *testing.T, what string, condition func() bool) bool {
	t.Helper()
	timer := time.NewTimer(stallTimeout)
	defer timer.Stop()
	for {
		l.mu.Lock()
		met, changed := condition(), l.changed
		l.mu.Unlock()
		if met {
			return true
		}
		select {
		case <-changed:
			timer.Reset(stallTimeout)
		case <-timer.C:
			t.Errorf("%s did not happen", what)
			return false
		}
	}
}

// settle waits until everything that was acknowledged has arrived and reports what has not.
func (l *ledger) awaitDelivery(t *testing.T) {
	t.Helper()
	l.waitFor(t, "the arrival of everything that was acknowledged", func() bool { return l.undelivered == 0 })
	l.mu.Lock()
	defer l.mu.Unlock()
	if missing := l.missing(); len(missing) > 0 {
		t.Errorf("%d of %d acknowledged events are lost, of the batches %v", len(missing), l.acknowledged, l.batchesOf(missing))
	}
	if len(l.outOfOrder) > 0 {
		t.Errorf("%d events came out of order: %s", len(l.outOfOrder), strings.Join(l.outOfOrder[:min(len(l.outOfOrder), 5)], "; "))
	}
}

// missing are the serials of events that were acknowledged and did not arrive.
func (l *ledger) missing() []int {
	var missing []int
	for serial, event := range l.events {
		if event.acknowledged && event.arrivals == 0 {
			missing = append(missing, serial)
		}
	}
	return missing
}

func (l *ledger) batchesOf(serials []int) []int {
	var batches []int
	for _, serial := range serials {
		batches = append(batches, int(l.events[serial].batch))
	}
	return slices.Compact(batches)
}

// count returns how many events were acknowledged, and how many of these did not arrive.
func (l *ledger) count() (acked, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acknowledged, l.undelivered
}

// repeated is how many events have arrived again, which some may do long after everything has.
func (l *ledger) duplicateCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.duplicates
}
