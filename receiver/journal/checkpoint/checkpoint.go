// Package checkpoint finds out whether messages of a buffer are gone without a trace: a file of the server that is empty, missing or
// cut at the end of a message looks like one that never had more. The last known state of each stream is kept in a second place,
// and compared when the buffer is opened.
//
// A checkpoint must never claim a message that was not durable, or that may have been removed since: after a loss of power, that
// would be a false alarm. So
//   - a state is written after what it describes was synced;
//   - a batch that is removed leaves its id among the finished ones first, and these are counted, so that a checkpoint may be older
//     than the last removal;
//   - remainders and dead letters leave no such trace. Their number is claimed only while none is removed: [Tracker.BeforeRemoval]
//     withdraws the claim first.
//
// What was stored after the last checkpoint and is gone is not noticed.
package checkpoint

import "time"

// The streams, as the label of the metric names them.
const (
	Batches     = "batches"
	Remainders  = "remainders"
	DeadLetters = "dead_letters"
)

// Streams are all of them.
var Streams = []string{Batches, Remainders, DeadLetters}

const (
	// quietTime is how long no message of a stream may have been removed before their number is claimed. A removal that has begun
	// has ended by then.
	quietTime = 30 * time.Second
	// shownTime is how long a loss is shown, also after restarts.
	shownTime = 24 * time.Hour
	// format is the version of the file. It grows when an older receiver must not read it.
	format = 1
)

// Stream is the state of a stream.
type Stream struct {
	LastSeq  uint64 `json:"lastSeq"`
	Messages uint64 `json:"messages"`
	// Quiet means that no message is removed before this is withdrawn.
	Quiet bool `json:"quiet,omitempty"`
}

// Sample is the state of the streams at a time.
type Sample struct {
	Streams  map[string]Stream
	Finished uint64 // last sequence of the ids of finished batches, read before Streams
	// ObjectMarks is how many of those after the last checkpoint are no batches.
	ObjectMarks uint64
	// Removing bounds the batches that are among the finished ones and may still be in the stream.
	Removing uint64
	Begun    time.Time // when it was begun
}

// record is the content of the file.
type record struct {
	Format   int               `json:"format"`
	Streams  map[string]Stream `json:"streams"`
	Finished uint64            `json:"finished"`
	Removing uint64            `json:"removing,omitempty"`
	Stopped  bool              `json:"stopped,omitempty"` // the receiver stopped after it, and nothing has changed
	Lost     map[string]uint64 `json:"lost,omitempty"`
	LostAt   time.Time         `json:"lostAt,omitzero"`
}

// lost returns how many messages of a stream are gone, and whether that can be known. In a shared buffer others remove messages,
// too, and only a stream that ends earlier has lost some for sure.
func (r *record) lost(name string, now Sample, exclusive bool) (lost uint64, known bool) {
	before, found := r.Streams[name]
	if !found {
		return 0, false
	}
	after := now.Streams[name]
	shorter := after.LastSeq < before.LastSeq
	if !exclusive && !shorter {
		return 0, true
	}
	removed := uint64(0)
	switch {
	case exclusive && (r.Stopped || before.Quiet):
	case now.Finished < r.Finished: // they are lost, too
		if !shorter {
			return 0, false
		}
	case name == Batches:
		removed = now.Finished - r.Finished - min(now.ObjectMarks, now.Finished-r.Finished) + r.Removing
	default:
		return 0, false
	}
	had := before.Messages
	if !shorter {
		had += after.LastSeq - before.LastSeq
	}
	if have := after.Messages + removed; had > have {
		return had - have, true
	}
	return 0, true
}
