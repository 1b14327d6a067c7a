package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// formatKey is where the format of a buffer is stored: of a buffer in NATS there is no directory that could say it.
const formatKey = "format"

// checkFormat refuses a buffer of a newer format, and marks one that has no mark.
func (s *session) checkFormat(ctx context.Context) error {
	value, err := s.state.GetOrCreate(ctx, formatKey, []byte(strconv.Itoa(engine.FormatVersion)))
	if err != nil {
		return fmt.Errorf("reading the format of the buffer: %w", err)
	}
	found := string(value)
	if version, err := strconv.Atoi(found); err != nil || version > engine.FormatVersion {
		return engine.NewerFormat(found)
	}
	return nil
}

// errNewerMessage is for a message in an encoding that a newer receiver has stored while this one runs. It is not damaged.
var errNewerMessage = errors.New("a newer receiver has stored a message that this one cannot read: upgrade this receiver")
