package admin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// WriteDeadLetter writes a dead letter as JSON, with the answer of the sink and the event: byte for byte if it is JSON,
// otherwise as Base64.
func WriteDeadLetter(w io.Writer, info journal.DeadLetterInfo, event journal.PendingEvent) error {
	head, err := json.MarshalIndent(struct {
		journal.DeadLetterInfo
		DeadLetterAttempts int    `json:"deadLetterAttempts,omitempty"`
		Answer             string `json:"answer,omitempty"`
		Size               int    `json:"size"` // of the event in bytes
	}{info, event.DeadLetterAttempts, event.Answer, len(event.Raw)}, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding a dead letter: %w", err)
	}
	return writeWithData(w, head, event.Raw)
}

// WriteWaiting writes a batch that waits as JSON, with its events as in WriteDeadLetter.
func WriteWaiting(w io.Writer, batch journal.WaitingBatch, events []byte) error {
	head, err := json.MarshalIndent(struct {
		journal.WaitingBatch
		Size int `json:"size"` // of the events in bytes
	}{batch, len(events)}, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding a batch: %w", err)
	}
	return writeWithData(w, head, events)
}

// writeWithData writes an object with one more field: data as JSON, or as Base64.
func writeWithData(w io.Writer, head, data []byte) error {
	name := "data"
	if !json.Valid(data) || !utf8.Valid(data) {
		name, data = "data_base64", fmt.Appendf(nil, "%q", base64.StdEncoding.EncodeToString(data))
	}
	head = fmt.Appendf(bytes.TrimSuffix(head, []byte("\n}")), ",\n  %q: ", name)
	for _, part := range [][]byte{head, data, []byte("\n}\n")} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("writing events: %w", err)
		}
	}
	return nil
}
