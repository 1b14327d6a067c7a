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

// deletedPrefix begins the keys of deleted webhooks in the state bucket. The keys have the same length whatever the names are.
const deletedPrefix = "deleted."

func deletedKey(webhook string) string {
	sum := sha256.Sum256([]byte(webhook))
	return deletedPrefix + hex.EncodeToString(sum[:16])
}

// DeletedWebhooks returns the webhooks that were deleted while the buffer has events of them, and since when.
func (c *Consumer) DeletedWebhooks(ctx context.Context) (map[string]time.Time, error) {
	deleted := map[string]time.Time{}
	err := c.session.store.Scan(ctx, c.session.stateStream, c.session.stateSubject(deletedPrefix+">"), func(msg *jetstream.RawStreamMsg) error {
		millis, webhook, _ := strings.Cut(string(msg.Data), " ")
		if since, err := parseMillis(millis); err == nil && webhook != "" { // else it is a deletion marker
			deleted[webhook] = since
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the deleted webhooks: %w", err)
	}
	return deleted, nil
}

// MarkDeleted remembers since when a webhook is deleted, or with a zero time that it is not.
func (c *Consumer) MarkDeleted(ctx context.Context, webhook string, since time.Time) error {
	s, key := c.session, deletedKey(webhook)
	if since.IsZero() { // the client's Delete leaves a marker forever
		return s.store.RetryWhileNoLeader(ctx, func(ctx context.Context) error {
			return s.stateStream.Purge(ctx, jetstream.WithPurgeSubject(s.stateSubject(key)))
		})
	}
	ctx, cancel := s.store.WithTimeout(ctx)
	defer cancel()
	status, err := s.state.Status(ctx)
	if err != nil {
		return err
	}
	if status.Values() >= maxDeletedWebhooks {
		c.journal.logger.Warn("Too many deleted webhooks to track: a restart resets --deleted-webhook-retention for this one", "webhook", webhook)
		return nil
	}
	_, err = s.state.PutString(ctx, key, millis(since)+" "+webhook)
	return err
}

// stateSubject is the subject of a key of the state bucket.
func (s *session) stateSubject(key string) string { return "$KV." + s.state.Bucket() + "." + key }
