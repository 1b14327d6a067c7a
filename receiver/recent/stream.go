package recent

import (
	"context"
	"errors"
)

// Run calls send with the past events and then with those that come, and idle when there were none for a while, until the context
// ends, the ring closes, or a call fails.
func (f *Follower) Run(ctx context.Context, past []Event, send func([]Event, uint64) error, idle func() error) error {
	if err := send(past, 0); err != nil {
		return err
	}
	for {
		waiting, cancel := context.WithTimeout(ctx, keepAlive)
		events, skipped, err := f.Next(waiting)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			err = idle()
		case err == nil:
			err = send(events, skipped)
		}
		if err != nil {
			return err
		}
	}
}
