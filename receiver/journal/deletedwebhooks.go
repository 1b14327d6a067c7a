package journal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// orphanKey begins the keys under which webhooks that are gone are remembered. They are short, whatever the names are.
	orphanKey = "orphan."
	// maxOrphans with the longest names take three quarters of the store, in which there must be room for who delivers.
	maxOrphans = 5000
)

func deletedKey(webhook string) string {
	sum := sha256.Sum256([]byte(webhook))
	return orphanKey + hex.EncodeToString(sum[:16])
}

// Orphans are the webhooks that are gone while something waits for them, and since when.
func (w *Consumer) DeletedWebhooks(ctx context.Context) (map[string]time.Time, error) {
	orphans := map[string]time.Time{}
	err := w.scan(ctx, w.stateStream, w.deletedSubject(orphanKey+">"), func(msg *jetstream.RawStreamMsg) error {
		since, webhook, _ := strings.Cut(string(msg.Data), " ")
		if at, err := parseMillis(since); err == nil && webhook != "" { // else it is a marker, that it is not gone any more
			orphans[webhook] = at
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for webhooks that are gone: %w", err)
	}
	return orphans, nil
}

// SetOrphan remembers that a webhook is gone, or with a zero time that it is not.
func (w *Consumer) MarkDeleted(ctx context.Context, webhook string, since time.Time) error {
	key := deletedKey(webhook)
	if since.IsZero() { // the client's own way leaves a message for ever
		return w.retryWhileNoLeader(ctx, func(ctx context.Context) error {
			return w.stateStream.Purge(ctx, jetstream.WithPurgeSubject(w.deletedSubject(key)))
		})
	}
	ctx, cancel := w.withTimeout(ctx)
	defer cancel()
	status, err := w.state.Status(ctx)
	if err != nil {
		return err
	}
	if status.Values() >= maxOrphans {
		w.journal.logger.Warn("Too many webhooks are gone, after a restart the time of one begins anew", "webhook", webhook)
		return nil
	}
	_, err = w.state.PutString(ctx, key, millis(since)+" "+webhook)
	return err
}

// orphanSubject is what the store of values keeps a key under.
func (w *Consumer) deletedSubject(key string) string { return "$KV." + w.state.Bucket() + "." + key }
