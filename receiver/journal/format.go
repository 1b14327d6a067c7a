package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// formatKey is where the format of a buffer is stored: of a buffer in NATS there is no directory that could say it.
const formatKey = "format"

// checkFormat refuses a buffer of a newer format, and marks one that has no mark.
func (s *session) checkFormat(ctx context.Context) error {
	var found string
	err := s.store.RetryWhileNoLeader(ctx, func(ctx context.Context) error {
		entry, err := s.state.Get(ctx, formatKey)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			found = strconv.Itoa(engine.FormatVersion)
			_, err = s.state.Create(ctx, formatKey, []byte(found))
			if !errors.Is(err, jetstream.ErrKeyExists) { // another process was faster
				return err
			}
			entry, err = s.state.Get(ctx, formatKey)
		}
		if err == nil {
			found = string(entry.Value())
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the format of the buffer: %w", err)
	}
	if version, err := strconv.Atoi(found); err != nil || version > engine.FormatVersion {
		return engine.NewerFormat(found)
	}
	return nil
}

// errNewerMessage is for a message in an encoding that a newer receiver has stored while this one runs. It is not damaged.
var errNewerMessage = errors.New("a newer receiver has stored a message that this one cannot read: upgrade this receiver")
