package journal

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// sharesMaxAge is how long the shares of webhooks are kept up to date without being read again: dead letters are also redriven
// and purged.
const sharesMaxAge = 10 * time.Minute

// deadLetterShares knows how many bytes of dead letters each webhook has. They are read when one must be evicted for the first
// time. Its zero value knows nothing.
type deadLetterShares struct {
	mu    sync.Mutex
	bytes map[string]int64 // nil: not read
	read  time.Time
}

// add changes the share of a webhook.
func (d *deadLetterShares) add(webhook string, bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bytes != nil {
		d.bytes[webhook] += bytes
	}
}

// forget is for a webhook that has no dead letters.
func (d *deadLetterShares) forget(webhook string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.bytes, webhook)
}

// largest returns the webhook with the largest share; empty if there are no dead letters.
func (d *deadLetterShares) largest(ctx context.Context, dead jetstream.Stream, subjects string) (webhook string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bytes == nil || len(d.bytes) == 0 || time.Since(d.read) > sharesMaxAge {
		if err := d.scan(ctx, dead, subjects); err != nil {
			return "", err
		}
	}
	most := int64(-1)
	for name, bytes := range d.bytes {
		if bytes > most {
			webhook, most = name, bytes
		}
	}
	return webhook, nil
}

func (d *deadLetterShares) scan(ctx context.Context, dead jetstream.Stream, subjects string) error {
	found := map[string]int64{}
	for after, first := uint64(0), true; first || after > 0; first = false {
		next, err := store.ScanHeaders(ctx, dead, subjects, after, func(_ uint64, header nats.Header) bool {
			stored, _ := strconv.Atoi(header.Get(nats.MsgSize)) // 0 does no harm
			found[header.Get(headerWebhook)] += deadLetterBytes(header, stored)
			return true
		})
		if err != nil {
			return err
		}
		after = next
	}
	d.bytes, d.read = found, time.Now()
	return nil
}

// deadLetterBytes returns what a dead letter takes: its message, and its object if it has one.
func deadLetterBytes(header nats.Header, stored int) int64 {
	bytes := int64(stored) + messageReserve/32 // headers
	if header.Get(headerObject) != "" {
		size, _ := strconv.ParseInt(header.Get(headerSize), 10, 64)
		bytes += size
	}
	return bytes
}
