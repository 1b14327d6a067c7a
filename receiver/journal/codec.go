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
)

// The headers of a message. What is not said with each is in every message.
const (
	headerWebhook      = "Mandrill-Webhook"
	headerReceived     = "Mandrill-Received" // milliseconds since 1970
	headerEvents       = "Mandrill-Events"   // how many
	headerSize         = "Mandrill-Size"     // of what was compressed
	headerFormat       = "Mandrill-Form"     // formBatch or formEntries
	headerBatch        = "Mandrill-Batch"    // identity of the batch
	headerTrace        = "Traceparent"       // where the batch was traced
	headerChecksum     = "Mandrill-Sum"      // of the data, which the server's checksum does not tell from headers
	headerLarge        = "Mandrill-Large"    // in place of data: the name of an object
	headerOrigin       = "Mandrill-Origin"   // of a remainder: the batch's place among the batches
	headerParent       = "Mandrill-Parent"   // of a remainder: what it takes the place of
	headerReason       = "Mandrill-Reason"   // of a dead letter
	headerDeadLettered = "Mandrill-Buried"   // of a dead letter: milliseconds since 1970
	headerEvent        = "Mandrill-Event"    // of a dead letter: the event's id
	headerType         = "Mandrill-Type"     // of a dead letter: the event's type
	headerStatus       = "Mandrill-Status"   // of a dead letter: of the sink's last answer
	headerAttempts     = "Mandrill-Attempts" // of a dead letter
	headerRedriven     = "Mandrill-Redriven" // of what was a dead letter: milliseconds since 1970
)

const (
	formBatch  = "batch"   // an array of JSON, as Mandrill sent it
	formEvents = "entries" // as encodeEntries does
)

// Entry is an event, and how far its delivery has come.
type PendingEvent struct {
	ID  string `json:"id"`
	Raw []byte `json:"-"` // as Mandrill sent it
	// Position is its number in its batch, by which remainders of one batch have their turn.
	Index int `json:"position,omitempty"`
	// Attempts to send it to the sink, and to the dead letter sink.
	Attempts           int       `json:"attempts,omitempty"`
	DeadLetterAttempts int       `json:"deadLetterAttempts,omitempty"`
	Due                time.Time `json:"due,omitzero"` // not before
	// Refused says that the sink will never accept it, Exhausted that its retries are used up. Status and Answer are of
	// the last attempt.
	Refused   bool   `json:"refused,omitempty"`
	Exhausted bool   `json:"exhausted,omitempty"`
	Status    int    `json:"status,omitempty"`
	Answer    string `json:"answer,omitempty"`
}

// framed is an entry in a message: what is known of the event in JSON, and its bytes as they are, after that of all.
type frame struct {
	PendingEvent
	Length int `json:"length"`
}

// encodeEntries writes them as the length of the JSON, the JSON, and the bytes of the events.
func encodeEvents(entries []PendingEvent) ([]byte, error) {
	frames, total := make([]frame, len(entries)), 0
	for i, entry := range entries {
		frames[i] = frame{entry, len(entry.Raw)}
		total += len(entry.Raw)
	}
	index, err := json.Marshal(frames)
	if err != nil {
		return nil, fmt.Errorf("encoding entries: %w", err)
	}
	data := binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64+len(index)+total), uint64(len(index)))
	data = append(data, index...)
	for _, entry := range entries {
		data = append(data, entry.Raw...)
	}
	return data, nil
}

func decodeEvents(data []byte) ([]PendingEvent, error) {
	length, n := binary.Uvarint(data)
	if n <= 0 || length > uint64(len(data)-n) { //nolint:gosec // n is at most the length
		return nil, errors.New("its index is cut short")
	}
	data = data[n:]
	var frames []frame
	if err := json.Unmarshal(data[:length], &frames); err != nil {
		return nil, errors.New("its index cannot be decoded") // the cause may quote
	}
	data = data[length:]
	entries := make([]PendingEvent, len(frames))
	for i, frame := range frames {
		if frame.Length < 0 || frame.Length > len(data) {
			return nil, errors.New("its events are cut short")
		}
		entries[i] = frame.PendingEvent
		entries[i].Raw, data = data[:frame.Length:frame.Length], data[frame.Length:]
	}
	if len(data) > 0 {
		return nil, errors.New("its events are longer than its index says")
	}
	return entries, nil
}

// Place is where a message is.
type Position struct {
	Remainder bool // among the remainders
	Seq       uint64
}

func (p Position) String() string {
	if p.Remainder {
		return kindRemainder + ":" + strconv.FormatUint(p.Seq, 10)
	}
	return kindBatch + ":" + strconv.FormatUint(p.Seq, 10)
}

func parsePosition(text string) (Position, error) {
	for kind, rest := range map[string]bool{kindBatch: false, kindRemainder: true} {
		if prefix := kind + ":"; len(text) > len(prefix) && text[:len(prefix)] == prefix {
			seq, err := strconv.ParseUint(text[len(prefix):], 10, 64)
			return Position{rest, seq}, err
		}
	}
	return Position{}, errors.New("no place")
}

// Batch is what Mandrill sent at once.
type Batch struct {
	Webhook  string
	Received time.Time
	Value    []byte             // the array as it came
	Events   [][]byte           // its elements: parts of Value
	ID       func(i int) string // of an element, asked for in order
	Trace    string             // traceparent, if there is one
}

// Unit is a message: a batch, a part of one, or what is left of one.
type StoredBatch struct {
	Position    Position
	Origin      uint64 // the place of its batch among the batches, by which it has its turn
	Webhook     string
	Batch       string // identity
	Received    time.Time
	Redriven    time.Time // when it was a dead letter and delivery began anew; zero: never
	Trace       string
	Value       []byte         // an array of JSON, or
	Events      []PendingEvent // what is left of one
	EventCount  int
	Size        int64 // bytes of the data in memory
	StoredBytes int64 // bytes that the message takes

	parent Position
	large  string // name of the object that has the data
}

// Begin is when its age begins: a dead letter that is delivered anew is given all the time that there is.
func (u *StoredBatch) AgeStart() time.Time {
	if u.Redriven.IsZero() {
		return u.Received
	}
	return u.Redriven
}

// Notice tells of a batch that waits.
type BatchInfo struct {
	Seq      uint64
	Webhook  string
	Received time.Time // or redriven
	Events   int
	Size     int64 // in memory
	Stored   int64 // on disk
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func parseMillis(text string) (time.Time, error) {
	ms, err := strconv.ParseInt(text, 10, 64)
	return time.UnixMilli(ms), err
}

// message makes one of compressed data, of a size before.
func newMessage(subject, form string, unit *StoredBatch, size int, compressed []byte) *nats.Msg {
	msg := nats.NewMsg(subject)
	msg.Header.Set(headerWebhook, unit.Webhook)
	msg.Header.Set(headerReceived, millis(unit.Received))
	msg.Header.Set(headerEvents, strconv.Itoa(unit.EventCount))
	msg.Header.Set(headerSize, strconv.FormatInt(max(int64(size), unit.Size), 10))
	msg.Header.Set(headerFormat, form)
	msg.Header.Set(headerBatch, unit.Batch)
	if unit.Trace != "" {
		msg.Header.Set(headerTrace, unit.Trace)
	}
	if unit.large != "" {
		msg.Header.Set(headerLarge, unit.large)
	}
	if !unit.Redriven.IsZero() {
		msg.Header.Set(headerRedriven, millis(unit.Redriven))
	}
	msg.Data = compressed
	msg.Header.Set(headerChecksum, checksum(msg.Data))
	return msg
}

// compress returns data compressed, in no more memory than that takes: what waits for the disk must not hold the room for
// the worst case, which is five times of it. The room is used again.
func compress(data []byte) []byte {
	room, _ := compressBuffers.Get().(*[]byte)
	if size := s2.MaxEncodedLen(len(data)); size > len(*room) {
		*room = make([]byte, size)
	}
	compressed := bytes.Clone(s2.Encode(*room, data))
	if len(*room) <= maxPooledBuffer {
		compressBuffers.Put(room)
	}
	return compressed
}

// rooms are hardly more than there are processors: who has one does not wait for anything.
var compressBuffers = sync.Pool{New: func() any { return new([]byte) }}

// maxRoom is enough for a batch of common size.
const maxPooledBuffer = 2 << 20

// unitOf reads a message, but for its data.
func parseHeaders(place Position, header nats.Header, stored int) (*StoredBatch, error) {
	unit := &StoredBatch{
		Position: place, Origin: place.Seq, Webhook: header.Get(headerWebhook), Batch: header.Get(headerBatch),
		Trace: header.Get(headerTrace), StoredBytes: int64(stored), large: header.Get(headerLarge),
	}
	var errs [6]error
	unit.Received, errs[0] = parseMillis(header.Get(headerReceived))
	unit.EventCount, errs[1] = strconv.Atoi(header.Get(headerEvents))
	unit.Size, errs[4] = strconv.ParseInt(header.Get(headerSize), 10, 64)
	if redriven := header.Get(headerRedriven); redriven != "" {
		unit.Redriven, errs[5] = parseMillis(redriven)
	}
	if place.Remainder {
		unit.Origin, errs[2] = strconv.ParseUint(header.Get(headerOrigin), 10, 64)
		unit.parent, errs[3] = parsePosition(header.Get(headerParent))
	}
	if err := errors.Join(errs[:]...); err != nil || unit.Webhook == "" {
		return nil, fmt.Errorf("%w: its headers cannot be read", errDamaged)
	}
	return unit, nil
}

// errDamaged is of a message that is not as it was written.
var errDamaged = errors.New("a message of the buffer is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(data []byte) string {
	return strconv.FormatUint(uint64(crc32.Checksum(data, castagnoli)), 16)
}

// decode reads the data of a message.
func (u *StoredBatch) decode(header nats.Header, data []byte) error {
	if header.Get(headerChecksum) != checksum(data) {
		return fmt.Errorf("%w: its data are others than were written", errDamaged)
	}
	data, err := s2.Decode(nil, data)
	if err != nil {
		return fmt.Errorf("%w: its data cannot be decompressed", errDamaged)
	}
	switch header.Get(headerFormat) {
	case formBatch:
		u.Value = data
	case formEvents:
		if u.Events, err = decodeEvents(data); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
	default:
		return fmt.Errorf("%w: its form is not known", errDamaged)
	}
	return nil
}
