package journal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/minio/highwayhash"
	"github.com/nats-io/nats.go/jetstream"
)

// identityKey is where the key of identities is in the state bucket.
const identityKey = "identity"

// identity is a keyed hash of the webhook and the events, as the field mandrill_events has them. The key keeps an attacker from crafting two batches with the same identity, one
// of which would be dropped as a duplicate.
func (b *Batch) identity(key []byte) (string, error) {
	hash, err := highwayhash.New128(key)
	if err != nil {
		return "", fmt.Errorf("hashing a batch: %w", err)
	}
	hash.Write([]byte(b.Webhook))
	hash.Write([]byte{0})
	hash.Write(b.Value)
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// identitySecret returns the key of identities. The first process that opens the buffer makes it. Without it, batches that
// Mandrill sends again would be delivered again.
func (s *session) identitySecret(ctx context.Context) (key []byte, err error) {
	err = s.store.RetryWhileNoLeader(ctx, func(ctx context.Context) error {
		entry, err := s.state.Get(ctx, identityKey)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			fresh := make([]byte, highwayhash.Size)
			_, _ = rand.Read(fresh) // never fails
			if _, err = s.state.Create(ctx, identityKey, fresh); err == nil {
				key = fresh
				return nil
			}
			if errors.Is(err, jetstream.ErrKeyExists) { // another process was faster
				entry, err = s.state.Get(ctx, identityKey)
			}
		}
		if err == nil {
			key = entry.Value()
		}
		return err
	})
	if err == nil && len(key) != highwayhash.Size {
		err = &ConfigError{Err: fmt.Errorf("the key %s of the bucket %s has %d bytes, not %d; remove it, then another is made", identityKey, s.state.Bucket(), len(key), highwayhash.Size)}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key of identities: %w", err)
	}
	return key, nil
}
