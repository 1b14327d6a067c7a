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

func keyOfOrphan(webhook string) string {
	sum := sha256.Sum256([]byte(webhook))
	return orphanKey + hex.EncodeToString(sum[:16])
}

// Orphans are the webhooks that are gone while something waits for them, and since when.
func (w *Work) Orphans(ctx context.Context) (map[string]time.Time, error) {
	bounded, cancel := w.within(ctx)
	defer cancel()
	watcher, err := w.state.Watch(bounded, orphanKey+">")
	if err != nil {
		return nil, fmt.Errorf("looking for webhooks that are gone: %w", err)
	}
	defer watcher.Stop() //nolint:errcheck // nothing depends on it
	orphans := map[string]time.Time{}
	for {
		select {
		case entry := <-watcher.Updates():
			if entry == nil { // that is all of them
				return orphans, nil
			}
			since, webhook, _ := strings.Cut(string(entry.Value()), " ")
			if at, err := parseMillis(since); err == nil && entry.Operation() == jetstream.KeyValuePut {
				orphans[webhook] = at
			}
		case <-bounded.Done():
			return nil, fmt.Errorf("looking for webhooks that are gone: %w", bounded.Err())
		}
	}
}

// SetOrphan remembers that a webhook is gone, or with a zero time that it is not.
func (w *Work) SetOrphan(ctx context.Context, webhook string, since time.Time) error {
	ctx, cancel := w.within(ctx)
	defer cancel()
	key := keyOfOrphan(webhook)
	if since.IsZero() { // the client's own way leaves a message for ever
		return w.states.Purge(ctx, jetstream.WithPurgeSubject("$KV."+w.state.Bucket()+"."+key))
	}
	status, err := w.state.Status(ctx)
	if err != nil {
		return err
	}
	if status.Values() >= maxOrphans {
		w.journal.logger.Warn("Too many webhooks are gone, after a restart the time of one begins anew", "route", webhook)
		return nil
	}
	_, err = w.state.PutString(ctx, key, millis(since)+" "+webhook)
	return err
}
