package journal

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/codec"
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
	formatEvents = "events" // as codec.Encode writes it
)

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
	msg.Header.Set(headerChecksum, codec.Checksum(msg.Data))
	return msg
}

// newEventsMessage makes a message of events.
func newEventsMessage(subject string, batch *StoredBatch, events []PendingEvent) (*nats.Msg, error) {
	data, err := codec.Encode(events)
	if err != nil {
		return nil, err
	}
	return newMessage(subject, formatEvents, batch, len(data), codec.Compress(data)), nil
}

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

// decode reads the data of a message.
func (b *StoredBatch) decode(header nats.Header, data []byte) error {
	if header.Get(headerChecksum) != codec.Checksum(data) {
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
		if b.Events, err = codec.Decode(data); err != nil {
			return fmt.Errorf("%w: %w", store.ErrDamaged, err)
		}
	default:
		return errNewerMessage // its checksum is right
	}
	return nil
}
