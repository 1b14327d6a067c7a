// Package usage finds out how full a buffer is.
package usage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/streams"
)

// freeFraction: 1/freeFraction of the limit must be free for a buffer that is not full.
const freeFraction = 50

// Usage is how full a buffer is.
type Usage struct {
	// ID is the same for all processes that share the buffer, and another one for every other buffer.
	ID   string
	Full bool  // a batch may not fit
	Used int64 // bytes of batches
	Max  int64 // 0: no limit
}

// Of returns the usage of the buffer with a stream of batches. Whether its volume has space is known elsewhere.
func Of(ctx context.Context, batches jetstream.Stream, hasSpace bool) (Usage, error) {
	info, err := batches.Info(ctx)
	if err != nil {
		return Usage{}, err
	}
	id := sha256.Sum256([]byte(info.Config.Name + " " + strconv.FormatInt(info.Created.UnixNano(), 10)))
	u := Usage{ID: hex.EncodeToString(id[:8]), Used: int64(info.State.Bytes), Max: max(info.Config.MaxBytes, 0)} //nolint:gosec // far below
	u.Full = !hasSpace || u.Max > 0 && u.Used >= u.Max-u.Max/freeFraction
	return u, nil
}

// ByWebhook counts the messages of a stream by webhook. Subject returns the subject of a name in it.
func ByWebhook(ctx context.Context, s *store.Store, stream jetstream.Stream, subject func(name string) string) (map[string]int64, error) {
	state, err := s.State(ctx, stream, jetstream.WithSubjectFilter(subject(">")))
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int64, len(state.Subjects))
	for name, messages := range state.Subjects {
		counts[streams.Webhook(strings.TrimPrefix(name, subject("")))] += int64(messages) //nolint:gosec // far below
	}
	return counts, nil
}
