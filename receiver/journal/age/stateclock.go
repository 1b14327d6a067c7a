package age

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// clockKey is where the leader records what its clock says.
const clockKey = "clock"

// StateClock records what the leader's clock says in the state bucket, in milliseconds since 1970.
type StateClock struct{ KeyValue jetstream.KeyValue }

// Recorded returns what was recorded last, zero if nothing was, or nothing that can be read: it is overwritten.
func (c StateClock) Recorded(ctx context.Context) (time.Time, error) {
	entry, err := c.KeyValue.Get(ctx, clockKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	ms, err := strconv.ParseInt(string(entry.Value()), 10, 64)
	if err != nil {
		return time.Time{}, nil //nolint:nilerr // see above
	}
	return time.UnixMilli(ms), nil
}

// Record records a time.
func (c StateClock) Record(ctx context.Context, now time.Time) error {
	_, err := c.KeyValue.Put(ctx, clockKey, []byte(strconv.FormatInt(now.UnixMilli(), 10)))
	return err
}
