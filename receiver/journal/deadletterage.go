package journal

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/age"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// clockKey is where the leader records what its clock says, in the state bucket.
const clockKey = "clock"

// runAging removes dead letters that are too old until the context ends.
func (c *Consumer) runAging(ctx context.Context) {
	j := c.journal
	if j.deadLetterMaxAge <= 0 {
		return
	}
	(&age.Remover{Buffer: agingLetters{c}, MaxAge: j.deadLetterMaxAge, Now: j.now, Elapsed: j.elapsed, Logger: j.logger, Interval: j.ageInterval}).Run(ctx)
}

// agingLetters are the dead letters of a consumer.
type agingLetters struct{ consumer *Consumer }

func (a agingLetters) Scan(ctx context.Context, yield func(age.Letter) bool) error {
	c := a.consumer
	for after, more := uint64(0), true; more; more = after > 0 {
		next, err := store.ScanHeaders(ctx, c.session.dead, c.journal.subject(kindDeadLetter, ">"), after, func(seq uint64, header nats.Header) bool {
			stored, _ := strconv.Atoi(header.Get(nats.MsgSize)) // 0 does no harm
			more = yield(age.Letter{
				Seq: seq, Webhook: header.Get(headerWebhook), Stored: deadLetterInfo(seq, header).DeadLettered,
				Object: header.Get(headerObject), Bytes: deadLetterBytes(header, stored),
			})
			return more
		})
		if err != nil || !more {
			return err
		}
		after = next
	}
	return nil
}

func (a agingLetters) Remove(ctx context.Context, letter age.Letter) (bool, error) {
	c := a.consumer
	removed, err := c.session.removeDeadLetter(ctx, letter.Seq, letter.Object)
	if err != nil || !removed {
		return removed, err
	}
	c.shares.Add(letter.Webhook, -letter.Bytes)
	c.journal.metrics.Removals.AgedOut(letter.Webhook)
	return true, nil
}

func (a agingLetters) Recorded(ctx context.Context) (time.Time, error) {
	entry, err := a.consumer.session.state.KeyValue.Get(ctx, clockKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	recorded, err := parseMillis(string(entry.Value()))
	if err != nil {
		return time.Time{}, nil //nolint:nilerr // it is overwritten
	}
	return recorded, nil
}

func (a agingLetters) Record(ctx context.Context, now time.Time) error {
	_, err := a.consumer.session.state.KeyValue.Put(ctx, clockKey, []byte(millis(now)))
	return err
}
