package watch

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Subjects are those of the messages to read.
//
// A JetStream consumer has one filter: with several, NATS 2.10 leaves out messages. So as long as there are messages under Old, all
// messages of the stream are read, and the caller ignores those of others.
type Subjects struct {
	Filter string
	Old    string // under which older receivers store; empty: there are none
	All    string // of the whole stream
}

const (
	// lateInterval is how often a reader of Filter looks whether an older receiver has stored a message after all.
	lateInterval = 10 * time.Second
	// doneInterval is how long all messages are read at least: while receivers are replaced, older ones store messages.
	doneInterval = 5 * time.Minute
)

var (
	// errSwitch is returned when other subjects are to be read from here on.
	errSwitch = errors.New("other subjects are to be read")
	// errLate is returned when a message under Old is behind what was read.
	errLate = errors.New("an older receiver has stored a batch; delivery restarts to keep the order")
)

// start finds out what is to be read, and returns the sequence of the last message, 0 if there is none. In a stream that nobody else uses
// all messages are read, and the last one may be damaged.
func (w *watcher) start(ctx context.Context) (last uint64, err error) {
	if w.store.Exclusive {
		state, err := w.store.State(ctx, w.stream)
		if err != nil || state.Msgs == 0 {
			return 0, err
		}
		return state.LastSeq, nil
	}
	w.checked = time.Now()
	if w.subjects.Old != "" {
		if last, err = w.store.LastOf(ctx, w.stream, w.subjects.Old); err != nil {
			return 0, err
		}
		w.all = last > 0
	}
	newest, err := w.store.LastOf(ctx, w.stream, w.subjects.Filter)
	return max(last, newest), err
}

// subject is what is read now.
func (w *watcher) subject() string {
	if w.all {
		return w.subjects.All
	}
	return w.subjects.Filter
}

// recheck looks now and then whether there are messages under Old.
func (w *watcher) recheck(ctx context.Context) error {
	interval := lateInterval
	if w.all {
		interval = doneInterval
	}
	if w.subjects.Old == "" || time.Since(w.checked) < interval {
		return nil
	}
	w.checked = time.Now()
	msg, err := w.store.Get(ctx, w.stream, 1, jetstream.WithGetMsgSubject(w.subjects.Old))
	found := err == nil
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return err
	}
	if found == w.all {
		return nil
	}
	if found && msg.Sequence < w.next {
		return errLate
	}
	w.all = found
	return errSwitch
}
