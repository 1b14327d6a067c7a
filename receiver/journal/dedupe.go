package journal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/minio/highwayhash"
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
	fresh := make([]byte, highwayhash.Size)
	_, _ = rand.Read(fresh) // never fails
	if key, err = s.state.GetOrCreate(ctx, identityKey, fresh); err != nil {
		return nil, fmt.Errorf("reading the key of identities: %w", err)
	}
	if len(key) != highwayhash.Size {
		return nil, &ConfigError{Err: fmt.Errorf("the key %s of the bucket %s has %d bytes, not %d; remove it, then another is made", identityKey, s.state.KeyValue.Bucket(), len(key), highwayhash.Size)}
	}
	return key, nil
}
