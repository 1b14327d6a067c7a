package journal

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
	"github.com/nats-io/nats.go"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/streams"
)

// The headers of a message. Those without "of a ..." are in every message.
const (
	headerWebhook  = "Mandrill-Webhook"
	headerReceived = "Mandrill-Received" // milliseconds since 1970
	headerEvents   = "Mandrill-Events"   // how many
	headerSize     = "Mandrill-Size"     // before compression
	headerFormat   = "Mandrill-Format"   // formatBatch or formatEvents
	headerID       = "Mandrill-Id"       // StoredBatch.ID
	headerChecksum = "Mandrill-Checksum" // of the data: the server's own does not tell data from headers
	headerTrace    = "Traceparent"       // if there is one
	headerObject   = "Mandrill-Object"   // of a large event: the object that has it
	headerRedriven = "Mandrill-Redriven" // of a redriven event: milliseconds since 1970

	headerOrigin   = "Mandrill-Origin"   // of a remainder: StoredBatch.Origin
	headerParent   = "Mandrill-Parent"   // of a remainder: the position of what it replaces
	headerReplaced = "Mandrill-Replaced" // of a remainder: the positions of what its parent has replaced
	headerSet      = "Mandrill-Set"      // of a remainder in several messages: "ID PART/PARTS"

	headerReason       = "Mandrill-Reason"        // of a dead letter
	headerDeadLettered = "Mandrill-Dead-Lettered" // of a dead letter: milliseconds since 1970
	headerEvent        = "Mandrill-Event"         // of a dead letter: the event's id
	headerType         = "Mandrill-Type"          // of a dead letter: the event's type
	headerStatus       = "Mandrill-Status"        // of a dead letter: of the sink's last answer
	headerAttempts     = "Mandrill-Attempts"      // of a dead letter
)

const (
	formatBatch  = "batch"  // a JSON array, as Mandrill sent it
	formatEvents = "events" // as encodeEvents writes it
)

// frame describes an event in a message: its state, and the length of its bytes, which follow the frames of all events.
type frame struct {
	PendingEvent
	Length int `json:"length"`
}

// encodeEvents writes the length of the frames in JSON, the frames, and the bytes of the events.
func encodeEvents(events []PendingEvent) ([]byte, error) {
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

func decodeEvents(data []byte) ([]PendingEvent, error) {
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
	events := make([]PendingEvent, len(frames))
	for i, frame := range frames {
		if frame.Length < 0 || frame.Length > len(data) {
			return nil, errors.New("the events are truncated")
		}
		events[i] = frame.PendingEvent
		events[i].Raw, data = data[:frame.Length:frame.Length], data[frame.Length:]
	}
	if len(data) > 0 {
		return nil, errors.New("the events are longer than the index says")
	}
	return events, nil
}

// encodedSize is the most that an event takes in a message.
func encodedSize(event PendingEvent) int { return len(event.Raw) + len(event.Answer)*6 + eventOverhead }

// groupBySize divides events, in order, into groups that fit into a message each. An event that does not is a group alone.
func groupBySize(events []PendingEvent, limit int) [][]PendingEvent {
	var groups [][]PendingEvent
	begin, size := 0, 0
	for i, event := range events {
		if grown := size + encodedSize(event); i > begin && grown > limit {
			groups = append(groups, events[begin:i])
			begin, size = i, 0
		}
		size += encodedSize(event)
	}
	if begin < len(events) {
		groups = append(groups, events[begin:])
	}
	return groups
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func parseMillis(text string) (time.Time, error) {
	ms, err := strconv.ParseInt(text, 10, 64)
	return time.UnixMilli(ms), err
}

// newMessage makes a message of compressed data, which had a size before.
func newMessage(subject, format string, batch *StoredBatch, size int, compressed []byte) *nats.Msg {
	msg := nats.NewMsg(subject)
	msg.Header.Set(headerWebhook, batch.Webhook)
	msg.Header.Set(headerReceived, millis(batch.Received))
	msg.Header.Set(headerEvents, strconv.Itoa(batch.EventCount))
	msg.Header.Set(headerSize, strconv.FormatInt(max(int64(size), batch.Size), 10))
	msg.Header.Set(headerFormat, format)
	msg.Header.Set(headerID, batch.ID)
	if batch.Trace != "" {
		msg.Header.Set(headerTrace, batch.Trace)
	}
	if batch.object != "" {
		msg.Header.Set(headerObject, batch.object)
	}
	if !batch.Redriven.IsZero() {
		msg.Header.Set(headerRedriven, millis(batch.Redriven))
	}
	msg.Data = compressed
	msg.Header.Set(headerChecksum, checksum(msg.Data))
	return msg
}

// newEventsMessage makes a message of events.
func newEventsMessage(subject string, batch *StoredBatch, events []PendingEvent) (*nats.Msg, error) {
	data, err := encodeEvents(events)
	if err != nil {
		return nil, err
	}
	return newMessage(subject, formatEvents, batch, len(data), compress(data)), nil
}

// compress returns an exactly sized copy: batches that wait for the disk must not pin the worst-case buffer, which is five
// times larger. The buffer is pooled.
func compress(data []byte) []byte {
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

// compressBuffers holds about as many buffers as there are processors: compress does not block while it has one.
var compressBuffers = sync.Pool{New: func() any { return new([]byte) }}

// headerReader parses headers and keeps the first error.
type headerReader struct {
	header nats.Header
	err    error
}

// readHeader parses a header, which is missing only where it is optional.
func readHeader[T any](r *headerReader, name string, optional bool, parse func(string) (T, error)) (value T) {
	text := r.header.Get(name)
	if text == "" && optional || r.err != nil {
		return value
	}
	value, err := parse(text)
	if err != nil {
		r.err = fmt.Errorf("header %s is invalid", name) // the cause quotes
	}
	return value
}

func parseInt64(text string) (int64, error)   { return strconv.ParseInt(text, 10, 64) }
func parseUint64(text string) (uint64, error) { return strconv.ParseUint(text, 10, 64) }

// parseHeaders reads a message, except its data.
func parseHeaders(position Position, header nats.Header, stored int) (*StoredBatch, error) {
	r := &headerReader{header: header}
	batch := &StoredBatch{
		Position: position, Origin: position.Seq, Webhook: header.Get(headerWebhook), ID: header.Get(headerID),
		Received:   readHeader(r, headerReceived, false, parseMillis),
		Redriven:   readHeader(r, headerRedriven, true, parseMillis),
		EventCount: readHeader(r, headerEvents, false, strconv.Atoi),
		Size:       readHeader(r, headerSize, false, parseInt64),
		Trace:      header.Get(headerTrace), StoredBytes: int64(stored), object: header.Get(headerObject),
	}
	if position.Remainder {
		batch.Origin = readHeader(r, headerOrigin, false, parseUint64)
		batch.parent = readHeader(r, headerParent, false, streams.ParsePosition)
		batch.replaced = readHeader(r, headerReplaced, true, streams.ParsePositions)
		batch.set = readHeader(r, headerSet, true, parseRemainderSet)
	}
	if r.err == nil && batch.Webhook == "" {
		r.err = errors.New("no webhook")
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrDamaged, r.err)
	}
	return batch, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(data []byte) string {
	return strconv.FormatUint(uint64(crc32.Checksum(data, castagnoli)), 16)
}

// decode reads the data of a message.
func (b *StoredBatch) decode(header nats.Header, data []byte) error {
	if header.Get(headerChecksum) != checksum(data) {
		return fmt.Errorf("%w: checksum mismatch", store.ErrDamaged)
	}
	data, err := s2.Decode(nil, data)
	if err != nil {
		return fmt.Errorf("%w: the data cannot be decompressed", store.ErrDamaged)
	}
	switch header.Get(headerFormat) {
	case formatBatch:
		b.Value = data
	case formatEvents:
		if b.Events, err = decodeEvents(data); err != nil {
			return fmt.Errorf("%w: %w", store.ErrDamaged, err)
		}
	default:
		return errNewerMessage // its checksum is right
	}
	return nil
}
