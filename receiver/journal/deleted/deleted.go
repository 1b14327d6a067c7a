// Package deleted remembers in the state bucket of the buffer since when a webhook is deleted.
package deleted

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// Most webhooks with the longest names take three quarters of the state bucket. The lease needs the rest.
const Most = 5000

// prefix begins the keys of deleted webhooks in the state bucket. The keys have the same length whatever the names are.
const prefix = "deleted."

func keyOf(webhook string) string {
	sum := sha256.Sum256([]byte(webhook))
	return prefix + hex.EncodeToString(sum[:16])
}

// Webhooks are the deleted webhooks of which the buffer has events. All fields are required.
type Webhooks struct {
	Store  *store.Store
	State  *store.State
	Logger *slog.Logger
}

// List returns the webhooks that were deleted while the buffer has events of them, and since when.
func (w *Webhooks) List(ctx context.Context) (map[string]time.Time, error) {
	deleted := map[string]time.Time{}
	err := w.Store.Scan(ctx, w.State.Stream, w.State.Subject(prefix+">"), func(msg *jetstream.RawStreamMsg) error {
		millis, webhook, _ := strings.Cut(string(msg.Data), " ")
		if since, err := strconv.ParseInt(millis, 10, 64); err == nil && webhook != "" { // else it is a deletion marker
			deleted[webhook] = time.UnixMilli(since)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the deleted webhooks: %w", err)
	}
	return deleted, nil
}

// Mark remembers since when a webhook is deleted, or with a zero time that it is not.
func (w *Webhooks) Mark(ctx context.Context, webhook string, since time.Time) error {
	key := keyOf(webhook)
	if since.IsZero() {
		return w.State.Remove(ctx, key)
	}
	ctx, cancel := w.Store.WithTimeout(ctx)
	defer cancel()
	status, err := w.State.KeyValue.Status(ctx)
	if err != nil {
		return err
	}
	if status.Values() >= Most {
		w.Logger.Warn("Too many deleted webhooks to track: a restart resets --deleted-webhook-retention for this one", "webhook", webhook)
		return nil
	}
	_, err = w.State.KeyValue.PutString(ctx, key, strconv.FormatInt(since.UnixMilli(), 10)+" "+webhook)
	return err
}
