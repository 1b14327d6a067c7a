package delivery_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/receiver/delivery"
)

// fakeBuffer answers what the test says.
type fakeBuffer struct {
	mu    sync.Mutex
	state reports.BufferState
	held  map[string]int64
	hangs bool
	asked int
}

func (b *fakeBuffer) set(change func(*fakeBuffer)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b)
}

func (b *fakeBuffer) Status(ctx context.Context) reports.Buffer {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hangs {
		<-ctx.Done()
		return reports.Buffer{ID: "x", State: reports.BufferUnavailable}
	}
	return reports.Buffer{ID: "x", State: b.state, UsedBytes: 1, MaxBytes: 2}
}

func (b *fakeBuffer) HeldDeadLetters(context.Context) (map[string]int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asked++; b.held == nil {
		return nil, errors.New("unavailable")
	}
	return b.held, nil
}

func TestBufferIsWatched(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		state := delivery.New(delivery.Options{})
		state.SetWebhooks(func(yield func(string) bool) { _ = yield("shop/a") && yield("shop/b") })
		if state.Buffer() != nil {
			t.Error("there is a buffer before it was asked")
		}
		state.SetBacklog(backlog{})
		state.Changes()
		buffer := &fakeBuffer{state: reports.BufferAvailable, held: map[string]int64{"shop/a": 3, "shop/deleted": 1}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go state.Watch(ctx, buffer)
		synctest.Wait()
		want := &reports.Buffer{ID: "x", State: reports.BufferAvailable, Delivers: true, UsedBytes: 1, MaxBytes: 2}
		if diff := cmp.Diff(want, state.Buffer()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got := state.Changes(); len(got) != 1 || got[0].Name != "shop/a" || got[0].DeadLetters != 3 {
			t.Errorf("changes %+v, want the first dead letters of shop/a", got)
		}
		buffer.set(func(b *fakeBuffer) { b.state, b.held = reports.BufferFull, map[string]int64{} })
		<-time.After(5 * time.Second)
		synctest.Wait()
		if got := state.Buffer().State; got != reports.BufferFull || len(state.Changed()) != 1 {
			t.Errorf("the buffer is %s, woken %d; want Full, once", got, len(state.Changed()))
		}
		state.Changes()
		<-time.After(30 * time.Second)
		synctest.Wait()
		if got := state.Snapshot()[0].DeadLetters; got != 0 || buffer.asked != 2 || len(state.Changed()) != 0 {
			t.Errorf("%d dead letters after %d questions, want none after 2", got, buffer.asked)
		}
		buffer.set(func(b *fakeBuffer) { b.hangs = true })
		<-time.After(10 * time.Second)
		synctest.Wait()
		if got := state.Buffer().State; got != reports.BufferUnavailable || len(state.Changed()) != 1 {
			t.Errorf("the buffer is %s, woken %d; want Unavailable, once", got, len(state.Changed()))
		}
	})
}

// An event that becomes a dead letter while dead letters are counted may be in the count, and is added to it afterwards. The next question
// corrects that, and after that one nothing is counted until the interval has passed.
func TestDeadLettersAreNotCountedTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		state := delivery.New(delivery.Options{})
		state.SetWebhooks(func(yield func(string) bool) { yield("shop/a") })
		buffer := &fakeBuffer{state: reports.BufferAvailable, held: map[string]int64{"shop/a": 1}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go state.Watch(ctx, buffer)
		synctest.Wait()
		state.DeadLettered("shop/a", "refused", 1) // the one that was counted
		if got := state.Snapshot()[0].DeadLetters; got != 2 {
			t.Fatalf("%d dead letters before the next question, want 2", got)
		}
		for range 4 {
			<-time.After(5 * time.Second)
		}
		synctest.Wait()
		if got := state.Snapshot()[0].DeadLetters; got != 1 || buffer.asked != 2 {
			t.Errorf("%d dead letters after %d questions, want 1 after 2", got, buffer.asked)
		}
	})
}

// A refused batch shows the state of the buffer before the next question does.
func TestRefusedBatchShowsTheBuffer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var none *delivery.State
		none.Refused(reports.BufferFull)
		state := delivery.New(delivery.Options{})
		state.Refused(reports.BufferFull) // nothing is known of the buffer yet
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go state.Watch(ctx, &fakeBuffer{state: reports.BufferAvailable})
		synctest.Wait()
		state.Changes()
		state.Refused(reports.BufferFull)
		state.Refused(reports.BufferFull)
		if got := state.Buffer().State; got != reports.BufferFull || len(state.Changed()) != 1 {
			t.Errorf("the buffer is %s, woken %d; want Full, once", got, len(state.Changed()))
		}
		<-time.After(5 * time.Second)
		synctest.Wait()
		if got := state.Buffer().State; got != reports.BufferAvailable {
			t.Errorf("the buffer is %s, want Available", got)
		}
	})
}
