// Package codec writes events into the data of a message, and reads them.
package codec

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"
)

const (
	// eventOverhead bounds what the index of a message stores for an event besides the sink's answer: numbers, a time, its id.
	eventOverhead = 512
	// maxPooledBuffer is enough for a batch of usual size.
	maxPooledBuffer = 2 << 20
)

// Event is an event that is not delivered yet, and how far its delivery has come.
type Event struct {
	ID  string `json:"id"`
	Raw []byte `json:"-"` // as Mandrill sent it
	// Index is its number in its batch. It orders remainders of one batch.
	Index int `json:"position,omitempty"`
	// Attempts to send it to the sink, and to the dead letter sink.
	Attempts           int       `json:"attempts,omitempty"`
	DeadLetterAttempts int       `json:"deadLetterAttempts,omitempty"`
	Due                time.Time `json:"due,omitzero"` // not before
	// Refused: the sink will never accept it. Exhausted: its retries are used up. Status and Answer are of the last attempt.
	Refused   bool   `json:"refused,omitempty"`
	Exhausted bool   `json:"exhausted,omitempty"`
	Status    int    `json:"status,omitempty"`
	Answer    string `json:"answer,omitempty"`
}

// frame describes an event in a message: its state, and the length of its bytes, which follow the frames of all events.
type frame struct {
	Event
	Length int `json:"length"`
}

// Encode writes the length of the frames in JSON, the frames, and the bytes of the events.
func Encode(events []Event) ([]byte, error) {
	frames, total := make([]frame, len(events)), 0
	for i, event := range events {
		frames[i] = frame{event, len(event.Raw)}
		total += len(event.Raw)
	}
	index, err := json.Marshal(frames)
	if err != nil {
		return nil, fmt.Errorf("encoding events: %w", err)
	}
	data := binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64+len(index)+total), uint64(len(index)))
	data = append(data, index...)
	for _, event := range events {
		data = append(data, event.Raw...)
	}
	return data, nil
}

// Decode reads what Encode has written.
func Decode(data []byte) ([]Event, error) {
	length, n := binary.Uvarint(data)
	if n <= 0 || length > uint64(len(data)-n) { //nolint:gosec // n is at most the length
		return nil, errors.New("the index is truncated")
	}
	data = data[n:]
	var frames []frame
	if err := json.Unmarshal(data[:length], &frames); err != nil {
		return nil, errors.New("the index cannot be decoded") // the cause may quote an event
	}
	data = data[length:]
	events := make([]Event, len(frames))
	for i, frame := range frames {
		if frame.Length < 0 || frame.Length > len(data) {
			return nil, errors.New("the events are truncated")
		}
		events[i] = frame.Event
		events[i].Raw, data = data[:frame.Length:frame.Length], data[frame.Length:]
	}
	if len(data) > 0 {
		return nil, errors.New("the events are longer than the index says")
	}
	return events, nil
}

// Size is the most that an event takes in a message.
func Size(event Event) int { return len(event.Raw) + len(event.Answer)*6 + eventOverhead }

// GroupBySize divides events, in order, into groups that fit into a message each. An event that does not is a group alone.
func GroupBySize(events []Event, limit int) [][]Event {
	var groups [][]Event
	begin, size := 0, 0
	for i, event := range events {
		if grown := size + Size(event); i > begin && grown > limit {
			groups = append(groups, events[begin:i])
			begin, size = i, 0
		}
		size += Size(event)
	}
	if begin < len(events) {
		groups = append(groups, events[begin:])
	}
	return groups
}

// Compress returns an exactly sized copy: batches that wait for the disk must not pin the worst-case buffer, which is five
// times larger. The buffer is pooled.
func Compress(data []byte) []byte {
	buffer, _ := compressBuffers.Get().(*[]byte)
	if size := s2.MaxEncodedLen(len(data)); size > len(*buffer) {
		*buffer = make([]byte, size)
	}
	compressed := bytes.Clone(s2.Encode(*buffer, data))
	if len(*buffer) <= maxPooledBuffer {
		compressBuffers.Put(buffer)
	}
	return compressed
}

// compressBuffers holds about as many buffers as there are processors: Compress does not block while it has one.
var compressBuffers = sync.Pool{New: func() any { return new([]byte) }}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the checksum of data.
func Checksum(data []byte) string {
	return strconv.FormatUint(uint64(crc32.Checksum(data, castagnoli)), 16)
}
