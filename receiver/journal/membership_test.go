package journal_test

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/erasure"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/lease"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/partition"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/quarantine"
)

// A batch that a member was processing when it was lost is a suspect for the member that takes its partition.
func TestSuspectsOfALostMemberAreKnownToTheNext(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	way := newProxy(t, e.options.Port)
	cutOff, options := divided(t, way.url()), divided(t, e.url())
	cutOff.LeaseTime, options.LeaseTime = lease.DefaultTime, lease.DefaultTime
	a, b := run(t, journal.New(cutOff)), run(t, journal.New(options))
	a.append(batch("shop/a", "1"))
	var begun atomic.Bool
	lost := lead(t, a.Journal, func(ctx context.Context, c *journal.Consumer) {
		if _, err := c.Record().Open(ctx); err != nil {
			return
		}
		if c.Delivers("shop/a") {
			if _, err := c.Next(ctx, "shop/a", 0); err != nil { // begins a section
				t.Error(err)
			}
			begun.Store(true)
		}
		<-ctx.Done()
	})
	defer lost()
	until(t, "a section has begun", begun.Load)
	way.set(true) // which leaves the section as it is, as the end of the process does
	found := make(chan quarantine.Found, 1)
	defer lead(t, b.Journal, func(ctx context.Context, c *journal.Consumer) {
		if c.Delivers("shop/a") {
			got, err := c.Record().Open(ctx)
			if err != nil {
				return
			}
			found <- got
		}
		<-ctx.Done()
	})()
	select {
	case got := <-found:
		if got.Suspects != 1 || len(got.Poison) > 0 {
			t.Errorf("found %+v, want one suspect", got)
		}
	case <-time.After(patience):
		t.Error("the partition was not taken")
	}
}

// lead delivers from a journal with do until stop is called.
func lead(t *testing.T, j *journal.Journal, do func(context.Context, *journal.Consumer)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = j.Lead(ctx, func(ctx context.Context, c *journal.Consumer) error { do(ctx, c); return nil })
	}()
	return func() { cancel(); <-ended }
}

// An order to erase is one for each partition that it concerns. Its result is the sum, and comes when all of them are done.
func TestOrderToEraseIsCarriedOutInEveryPartition(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	o := run(t, journal.New(divided(t, e.url())))
	all, err := o.OrderErasure(t.Context(), erasure.Request{Recipient: "ana@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	one, err := o.OrderErasure(t.Context(), erasure.Request{Recipient: "ana@example.com", Webhook: "shop/a"})
	if err != nil {
		t.Fatal(err)
	}
	var ones atomic.Int32
	mayFinish := make(chan struct{})
	defer lead(t, o.Journal, func(ctx context.Context, c *journal.Consumer) {
		pending, err := c.Erasures().Pending(ctx)
		if err != nil {
			t.Error(err)
		}
		for _, order := range pending {
			if order.Webhook != "" {
				ones.Add(1)
			} else if journal.PartitionOf(c) == 3 {
				<-mayFinish
			}
			if again, err := c.Erasures().Attempt(ctx, order); err != nil || !again {
				t.Errorf("attempt: %v, error %v", again, err)
			}
			if err := c.Erasures().Finish(ctx, order, erasure.Result{Events: 2, Batches: 1}); err != nil {
				t.Error(err)
			}
		}
		<-ctx.Done()
	})()
	result := func(id string) (got erasure.Result) {
		until(t, "a result", func() bool {
			found, err := o.ErasureResult(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if found != nil {
				got = *found
			}
			return found != nil
		})
		return got
	}
	if got := result(one); got != (erasure.Result{Events: 2, Batches: 1}) || ones.Load() != 1 {
		t.Errorf("of one webhook: %+v, in %d partitions", got, ones.Load())
	}
	if got, err := o.ErasureResult(t.Context(), all); got != nil || err != nil {
		t.Errorf("while one partition is not done: %+v, error %v", got, err)
	}
	close(mayFinish)
	if got := result(all); got != (erasure.Result{Events: 2 * partition.Count, Batches: partition.Count}) {
		t.Errorf("of all: %+v", got)
	}
	state, err := e.client().Stream(t.Context(), "KV_mandrill-state")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := state.GetLastMsgForSubject(t.Context(), "$KV.mandrill-state.erase.>"); err == nil {
		t.Error("something is left of the orders")
	}
}

// An older receiver takes the lease while no other holds it. The others stop then, and go on when it has.
func TestMembersYieldToAnOlderReceiver(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options := divided(t, e.url())
	options.LeaseTime = lease.DefaultTime
	o := run(t, journal.New(options))
	s := newShares(t)
	s.join("new", o.Journal)
	s.await(map[string]int{"new": partition.Count})
	state, err := e.client().KeyValue(t.Context(), "mandrill-state")
	if err != nil {
		t.Fatal(err)
	}
	renew := func() {
		if _, err := state.PutString(t.Context(), "leader", "AnOlderReceiver"); err != nil {
			t.Fatal(err)
		}
	}
	renew()
	s.await(map[string]int{})
	for begun := time.Now(); time.Since(begun) < lease.DefaultTime*3/2; {
		renew()
		if held := s.held(); !maps.Equal(held, map[string]int{}) {
			t.Fatalf("%v deliver besides it", held)
		}
		<-time.After(50 * time.Millisecond)
	}
	o.append(batch("shop/a", `"shop/a 0"`))
	msg, err := e.batches().GetLastMsgForSubject(t.Context(), "mandrill.batch.>")
	if err != nil || msg.Subject != "mandrill.batch.shop/a" {
		t.Errorf("a batch is stored as %+v, error %v", msg, err)
	}
	s.await(map[string]int{"new": partition.Count})
	s.expect(map[string]int{"shop/a": 1})
	until(t, "it stores under partitions again", func() bool {
		o.append(batch("shop/a", time.Now().String()))
		msg, err := e.batches().GetLastMsgForSubject(t.Context(), "mandrill.batch.>")
		return err == nil && msg.Subject != "mandrill.batch.shop/a"
	})
}

// The state of the buffer has no leases of members that have ended.
func TestLeasesOfMembersThatEndedAreRemoved(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options := divided(t, e.url())
	s := newShares(t)
	a, b := run(t, journal.New(options)), run(t, journal.New(options))
	s.join("a", a.Journal)
	for range 3 {
		stop := s.join("b", b.Journal)
		s.await(map[string]int{"a": 6, "b": 6})
		stop()
		s.await(map[string]int{"a": 12})
	}
	state, err := e.client().KeyValue(t.Context(), "mandrill-state")
	if err != nil {
		t.Fatal(err)
	}
	until(t, "one member is left", func() bool {
		keys, err := state.ListKeysFiltered(t.Context(), "member.*")
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		for range keys.Keys() {
			count++
		}
		return count == 1
	})
}

// What is to be done for the whole buffer is done by the member that has partition 0, and by no other.
func TestOldDeadLettersAreLookedForByOneMember(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	s := newShares(t)
	clocks := map[string]time.Time{"a": time.Now(), "b": time.Now().Add(-time.Hour)}
	for name, now := range clocks {
		options := divided(t, e.url())
		options.DeadLetterMaxAge, options.Now = 90*time.Minute, func() time.Time { return now }
		j := journal.New(options)
		journal.AgeEvery(j, 20*time.Millisecond, func() time.Duration { return 0 })
		s.join(name, run(t, j).Journal)
	}
	s.await(map[string]int{"a": 6, "b": 6})
	holder := "a"
	if slices.Contains(s.of("b"), 0) {
		holder = "b"
	}
	state, err := e.client().KeyValue(t.Context(), "mandrill-state")
	if err != nil {
		t.Fatal(err)
	}
	recorded := func() (string, uint64) {
		entry, err := state.Get(t.Context(), "clock")
		if err != nil {
			return "", 0
		}
		return string(entry.Value()), entry.Revision()
	}
	want := strconv.FormatInt(clocks[holder].UnixMilli(), 10)
	until(t, "the holder looks", func() bool { value, _ := recorded(); return value == want })
	_, first := recorded()
	until(t, "it has looked many times", func() bool {
		value, revision := recorded()
		if value != want {
			t.Fatal("another member looks for old dead letters, too")
		}
		return revision > first+100
	})
}
