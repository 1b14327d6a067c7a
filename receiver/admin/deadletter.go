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
	name, data := "data", event.Raw
	if !json.Valid(data) || !utf8.Valid(data) {
		name, data = "data_base64", fmt.Appendf(nil, "%q", base64.StdEncoding.EncodeToString(data))
	}
	head = fmt.Appendf(bytes.TrimSuffix(head, []byte("\n}")), ",\n  %q: ", name)
	for _, part := range [][]byte{head, data, []byte("\n}\n")} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("writing a dead letter: %w", err)
		}
	}
	return nil
}
