package streams

import (
	"context"
	"fmt"
	"strconv"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// formatKey is where the format of a buffer is stored: of a buffer in NATS there is no directory that could say it.
const formatKey = "format"

// CheckFormat refuses a buffer of a newer format, and marks one that has no mark or an older one than it is to have.
func CheckFormat(ctx context.Context, s *store.Store, state *store.State, format int) error {
	value, err := state.GetOrCreate(ctx, formatKey, []byte(strconv.Itoa(format)))
	if err != nil {
		return fmt.Errorf("reading the format of the buffer: %w", err)
	}
	found := string(value)
	version, err := strconv.Atoi(found)
	if err != nil || version > engine.SharedFormatVersion {
		return engine.NewerFormat(found, engine.SharedFormatVersion)
	}
	if version >= format {
		return nil
	}
	return MarkFormat(ctx, s, state, format)
}

// MarkFormat marks a buffer, so that receivers that do not know the format do not open it.
func MarkFormat(ctx context.Context, s *store.Store, state *store.State, format int) error {
	return s.RetryWhileNoLeader(ctx, func(ctx context.Context) error {
		if _, err := state.KeyValue.PutString(ctx, formatKey, strconv.Itoa(format)); err != nil {
			return fmt.Errorf("writing the format of the buffer: %w", err)
		}
		return nil
	})
}
