package journal

import (
	"errors"
	"fmt"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/codec"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/streams"
)

// Batch is what Mandrill sent in one request.
type Batch struct {
	Webhook  string
	Received time.Time
	Value    []byte   // the array as it came
	Events   [][]byte // its elements: slices of Value
	// IDs returns the id of each event. It is called once, and only for a batch that does not fit into one message.
	IDs   func() []string
	Trace string // traceparent, may be empty
	// Identified is called with the ID that the batch has in the buffer, maybe several times; nil: it is not.
	Identified func(id string)
}

// PendingEvent is an event that is not delivered yet, and how far its delivery has come.
type PendingEvent = codec.Event

// Position is where a message is: a sequence of the stream of batches or of that of remainders.
type Position = streams.Position

// StoredBatch is a message of the buffer: a batch, a part of a batch that was too large for one message, or a remainder of
// either.
type StoredBatch struct {
	Position Position
	// Origin is the sequence of the original batch, or part, in its stream. Remainders keep it, and so their place in the order.
	Origin  uint64
	Webhook string
	// ID is the same when Mandrill sends the same events again. A remainder has that of its origin.
	ID          string
	Received    time.Time
	Redriven    time.Time // when it was a dead letter that was redriven; zero: never
	Trace       string
	Value       []byte         // of a batch in one message: the array as it came
	Events      []PendingEvent // of a part or a remainder
	EventCount  int
	Size        int64 // bytes of its events in memory
	StoredBytes int64 // bytes of the message

	parent   Position          // of a remainder: what it replaces
	replaced streams.Positions // of a remainder: what its parent has replaced, the latest first
	set      remainderSet      // of a remainder that is stored in several messages
	object   string            // the object that has its event; empty: the message has its events
}

// remainderSet says which messages together are one remainder. It is zero for a remainder in one message.
type remainderSet struct {
	id          string
	part, parts int // part counts from one
}

func (s remainderSet) String() string { return fmt.Sprintf("%s %d/%d", s.id, s.part, s.parts) }

func parseRemainderSet(text string) (s remainderSet, err error) {
	if _, err = fmt.Sscanf(text, "%s %d/%d", &s.id, &s.part, &s.parts); err == nil && (s.part < 1 || s.part > s.parts) {
		err = errors.New("invalid part")
	}
	return s, err
}

// AgeStart is when its age begins. A redriven event gets all the time that a new one gets.
func (b *StoredBatch) AgeStart() time.Time {
	if b.Redriven.IsZero() {
		return b.Received
	}
	return b.Redriven
}

// BatchInfo announces a batch in the buffer.
type BatchInfo struct {
	Seq      uint64
	Webhook  string
	Received time.Time // or redriven
	Events   int
	Size     int64 // in memory
	Stored   int64 // on disk
}
