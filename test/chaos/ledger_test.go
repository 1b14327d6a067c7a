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

// ledger records, outside of the receivers, which events were acknowledged and which arrived.
type ledger struct {
	mu           sync.Mutex
	events       []eventRecord // by serial
	batches      []int         // serial of each batch's first event
	ordinals     map[string]int
	arrived      map[string]int // highest ordinal by message
	outOfOrder   []string
	undelivered  int // acknowledged events that have not arrived
	acknowledged int
	duplicates   int
	changed      chan struct{}
}

// eventRecord is the state of an event.
type eventRecord struct {
	batch        int32
	sender       int16
	acknowledged bool
	ackedAt      time.Time
	arrivals     uint16
	first        time.Time // arrival
	last         time.Time
}

// event is the event that is sent.
type event struct {
	Event   string `json:"event"`
	ID      string `json:"_id"`
	Time    int64  `json:"ts"`
	Serial  int    `json:"serial"`
	Ordinal int    `json:"ordinal"` // among the events of its message
	Padding string `json:"padding,omitempty"`
}

// sentBatch is a batch that is sent until it is acknowledged.
type sentBatch struct {
	first, events int
	raw           [][]byte
}

func newLedger() *ledger {
	return &ledger{ordinals: map[string]int{}, arrived: map[string]int{}, changed: make(chan struct{})}
}

// messagesPerSender is how many messages a sender has. Its events belong to them in turn.
const messagesPerSender = 40

// newBatch makes a batch of a sender's next events. Padding, if not nil, enlarges each of them.
func (l *ledger) newBatch(sender, events int, padding func() string) *sentBatch {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch := &sentBatch{first: len(l.events), events: events}
	number := len(l.batches)
	l.batches = append(l.batches, batch.first)
	for i := range events {
		event := event{Event: "open", ID: fmt.Sprintf("s%d-m%d", sender, i%messagesPerSender), Time: 1767225600, Serial: len(l.events)}
		l.ordinals[event.ID]++
		event.Ordinal = l.ordinals[event.ID]
		if padding != nil {
			event.Padding = padding()
		}
		raw, err := json.Marshal(event)
		if err != nil {
			panic(err) // strings and numbers can be encoded
		}
		batch.raw = append(batch.raw, raw)
		l.events = append(l.events, eventRecord{batch: int32(number), sender: int16(sender)})
	}
	return batch
}

// recordAck records that a batch got 200.
func (l *ledger) recordAck(batch *sentBatch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range batch.events {
		event := &l.events[batch.first+i]
		event.acknowledged, event.ackedAt = true, time.Now()
		l.acknowledged++
		if event.arrivals == 0 {
			l.undelivered++
		}
	}
	l.signal()
}

// recordArrival records an event that a sink accepted.
func (l *ledger) recordArrival(body []byte) error {
	var arrived event
	if err := json.Unmarshal(body, &arrived); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if arrived.Serial >= len(l.events) || arrived.ID == "" {
		return fmt.Errorf("event %d was not sent", arrived.Serial)
	}
	now, record := time.Now(), &l.events[arrived.Serial]
	record.arrivals++
	record.last = now
	if record.arrivals > 1 {
		l.duplicates++
		return nil
	}
	record.first = now
	if record.acknowledged {
		l.undelivered--
	}
	if arrived.Ordinal < l.arrived[arrived.ID] {
		l.outOfOrder = append(l.outOfOrder, fmt.Sprintf("%s: event %d after %d", arrived.ID, arrived.Ordinal, l.arrived[arrived.ID]))
	}
	l.arrived[arrived.ID] = max(l.arrived[arrived.ID], arrived.Ordinal)
	l.signal()
	return nil
}

func (l *ledger) signal() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// stallTimeout is how long nothing may arrive before missing events count as lost. It is longer than a sink's circuit is open.
const stallTimeout = 45 * time.Second

// waitLimit bounds a wait during which events trickle.
const waitLimit = 10 * time.Minute

// waitFor waits for a condition as long as events are acknowledged or arrive.
func (l *ledger) waitFor(t *testing.T, what string, condition func() bool) bool {
	t.Helper()
	timer, limit := time.NewTimer(stallTimeout), time.After(waitLimit)
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
			t.Errorf("waited in vain for %s", what)
			return false
		case <-limit:
			t.Errorf("waited for %s: events still come, and it takes longer than %s", what, waitLimit)
			return false
		}
	}
}

// awaitDelivery waits until all acknowledged events have arrived, and reports those that are lost or out of order.
func (l *ledger) awaitDelivery(t *testing.T) {
	t.Helper()
	l.waitFor(t, "the arrival of all acknowledged events", func() bool { return l.undelivered == 0 })
	l.mu.Lock()
	defer l.mu.Unlock()
	if missing := l.missing(); len(missing) > 0 {
		t.Errorf("%d of %d acknowledged events are lost", len(missing), l.acknowledged)
		for _, batch := range l.batchesOf(missing) {
			event := l.events[l.batches[batch]]
			t.Logf("events are lost from batch %d, of webhook %d, acknowledged at %s", batch, event.sender, event.ackedAt.UTC().Format(time.RFC3339Nano))
		}
	}
	if len(l.outOfOrder) > 0 {
		t.Errorf("%d events arrived out of order: %s", len(l.outOfOrder), strings.Join(l.outOfOrder[:min(len(l.outOfOrder), 5)], "; "))
	}
}

// slowestDelivery returns the longest time from the acknowledgement of an event to its arrival, of senders that a function selects,
// and the number of their events that have arrived.
func (l *ledger) slowestDelivery(selected func(sender int) bool) (slowest time.Duration, events int) {
	return l.slowestDeliveryBetween(time.Time{}, time.Now(), selected)
}

// slowestDeliveryBetween is slowestDelivery of the events that were acknowledged between two moments.
func (l *ledger) slowestDeliveryBetween(from, until time.Time, selected func(sender int) bool) (slowest time.Duration, events int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, event := range l.events {
		if event.acknowledged && event.arrivals > 0 && selected(int(event.sender)) && event.ackedAt.After(from) && event.ackedAt.Before(until) {
			slowest, events = max(slowest, event.first.Sub(event.ackedAt)), events+1
		}
	}
	return slowest, events
}

// missing returns the serials of acknowledged events that have not arrived.
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

// count returns how many events were acknowledged, and how many of these have not arrived.
func (l *ledger) count() (acked, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acknowledged, l.undelivered
}

// duplicateCount returns how many events arrived again. More may do so long after everything arrived.
func (l *ledger) duplicateCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.duplicates
}
