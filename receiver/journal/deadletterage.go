package journal

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/age"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// runAging removes dead letters that are too old until the context ends.
func (c *Consumer) runAging(ctx context.Context) {
	j := c.journal
	if j.deadLetterMaxAge <= 0 {
		return
	}
	(&age.Remover{Buffer: agingLetters{age.StateClock{KeyValue: c.session.state.KeyValue}, c}, MaxAge: j.deadLetterMaxAge, Now: j.now, Elapsed: j.elapsed, Logger: j.logger, Interval: j.ageInterval}).Run(ctx)
}

// agingLetters are the dead letters of a consumer.
type agingLetters struct {
	age.StateClock
	consumer *Consumer
}

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
	c.session.shares.Add(letter.Webhook, -letter.Bytes)
	c.journal.metrics.Removals.AgedOut(letter.Webhook)
	return true, nil
}
