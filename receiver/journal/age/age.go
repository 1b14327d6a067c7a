// Package age removes dead letters that are older than allowed, and none because of a clock that is wrong.
//
// The age of a dead letter is counted from the time at which it was stored, by the clock of that moment. Two rules keep a wrong
// clock from removing many at once:
//
//   - Nothing is removed while the clock is not trusted: for an hour after a receiver has become the leader, for an hour after the
//     time of day has jumped, and for a day when it is more than a day away from what the last leader has recorded.
//   - A dead letter is not older than one that was stored before it. A time in the future, or before there was such a receiver,
//     says nothing: such a dead letter is removed with the next one whose time is good.
//
// So a clock that is wrong keeps dead letters for longer, by as much as it was wrong.
package age

import (
	"cmp"
	"context"
	"log/slog"
	"time"
)

// earliest is before every dead letter.
var earliest = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	// A pass is made passes times per maximum age, within bounds.
	passes      = 20
	minInterval = time.Second
	maxInterval = 10 * time.Minute
	// perPass bounds the dead letters of a pass. The next one follows at once.
	perPass = 10_000
)

// Letter is a dead letter.
type Letter struct {
	Seq     uint64
	Webhook string
	Stored  time.Time // zero if it cannot be read
	Object  string    // that has its event; may be empty
	Bytes   int64
}

// Buffer is where the dead letters are.
type Buffer interface {
	// Scan hands over dead letters in the order in which they were stored, until yield returns false.
	Scan(ctx context.Context, yield func(Letter) bool) error
	// Remove removes one, and reports whether it was still there.
	Remove(ctx context.Context, letter Letter) (bool, error)
	// Recorded returns the time that Record has stored, zero if there is none.
	Recorded(ctx context.Context) (time.Time, error)
	Record(ctx context.Context, now time.Time) error
}

// Remover removes old dead letters. All fields except Interval are required.
type Remover struct {
	Buffer  Buffer
	MaxAge  time.Duration
	Now     func() time.Time
	Elapsed func() time.Duration // since a fixed moment, whatever happens to the time of day
	Logger  *slog.Logger
	// Interval between passes; default: a twentieth of MaxAge, from a second to ten minutes.
	Interval time.Duration
}

// Run removes old dead letters until the context ends. Only the leader may call it.
func (r *Remover) Run(ctx context.Context) {
	interval := cmp.Or(r.Interval, min(max(r.MaxAge/passes, minInterval), maxInterval))
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	r.run(ctx, ticker.C)
}

func (r *Remover) run(ctx context.Context, tick <-chan time.Time) {
	clock := &clock{now: r.Now, elapsed: r.Elapsed, most: r.MaxAge}
	started := false
	for {
		var err error
		if !started {
			started, err = r.start(ctx, clock)
		} else {
			err = r.pass(ctx, clock)
		}
		if err != nil && ctx.Err() == nil {
			r.Logger.Warn("Removing old dead letters failed and is tried again", "error", err.Error())
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
	}
}

func (r *Remover) start(ctx context.Context, clock *clock) (bool, error) {
	recorded, err := r.Buffer.Recorded(ctx)
	if err != nil {
		return false, err
	}
	if gap := clock.start(recorded); gap > longGap || gap < -longGap {
		r.Logger.Warn("Clock is far from the last time in the buffer, dead letters are not removed by age for a day",
			"differenceSeconds", gap.Round(time.Second).Seconds())
	}
	return true, nil
}

// pass removes what is too old, if the clock can be trusted.
func (r *Remover) pass(ctx context.Context, clock *clock) error {
	now, jumped, trusted := clock.check()
	if jumped != 0 {
		r.Logger.Warn("Clock has jumped, dead letters are not removed by age for an hour", "bySeconds", jumped.Round(time.Second).Seconds())
	}
	if err := r.Buffer.Record(ctx, now); err != nil || !trusted {
		return err
	}
	removed, webhooks := 0, map[string]bool{}
	defer func() {
		if removed > 0 {
			r.Logger.Info("Removed dead letters that were older than --dead-letter-max-age", "events", removed, "webhooks", len(webhooks))
		}
	}()
	for more := true; more; {
		var old []Letter
		var err error
		if old, more, err = r.old(ctx, now); err != nil {
			return err
		}
		for _, letter := range old {
			there, err := r.Buffer.Remove(ctx, letter)
			if err != nil {
				return err
			}
			if there {
				removed++
				webhooks[letter.Webhook] = true
			}
		}
	}
	return nil
}

// old returns the first dead letters that are too old, and whether there may be more. Those whose time says nothing are too old if a
// later one is.
func (r *Remover) old(ctx context.Context, now time.Time) (old []Letter, more bool, err error) {
	var letters []Letter
	var latest time.Time
	found := 0 // letters up to here are too old
	err = r.Buffer.Scan(ctx, func(letter Letter) bool {
		letters = append(letters, letter)
		if letter.Stored.Before(earliest) || letter.Stored.After(now) {
			return len(letters) < perPass
		}
		if letter.Stored.After(latest) {
			latest = letter.Stored
		}
		if now.Sub(latest) <= r.MaxAge {
			return false
		}
		found = len(letters)
		return found < perPass
	})
	return letters[:found], found == perPass, err
}
