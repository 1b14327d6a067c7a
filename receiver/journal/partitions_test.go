package journal_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/lease"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/partition"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/streams"
)

// shares knows which member delivers which partition, and what was delivered of each webhook, in order. It fails the test when two
// deliver a partition at a time.
type shares struct {
	t *testing.T

	mu      sync.Mutex
	holders map[int]string
	most    int // partitions that were without a holder at once, since all had one
	got     map[string][]string
	twice   int
}

func newShares(t *testing.T) *shares {
	t.Helper()
	return &shares{t: t, holders: map[int]string{}, got: map[string][]string{}}
}

// join delivers from a journal until stop is called.
func (s *shares) join(name string, j *journal.Journal) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = j.Lead(ctx, func(ctx context.Context, c *journal.Consumer) error { return s.deliver(ctx, name, c) })
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	s.t.Cleanup(stop)
	return stop
}

func (s *shares) deliver(ctx context.Context, name string, c *journal.Consumer) error {
	number := journal.PartitionOf(c)
	s.mu.Lock()
	if other := s.holders[number]; other != "" {
		s.t.Errorf("%s and %s deliver partition %d at the same time", name, other, number)
	}
	s.holders[number] = name
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.holders, number)
		s.most = max(s.most, partition.Count-len(s.holders))
	}()
	if err := c.Remainders(ctx, func(*journal.StoredBatch) {}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := map[string]uint64{}
	err := c.Watch(ctx, func(notice journal.BatchInfo) {
		if notice.Seq < next[notice.Webhook] || ctx.Err() != nil {
			return
		}
		if !c.Delivers(notice.Webhook) {
			s.t.Errorf("partition %d got a batch of %s", number, notice.Webhook)
		}
		stored, err := c.Next(c.LeaseContext(), notice.Webhook, next[notice.Webhook]) //nolint:contextcheck // work in flight is finished
		if err == nil {
			next[notice.Webhook] = stored.Position.Seq + 1
			s.record(stored)
			err = c.Ack(c.LeaseContext(), stored) //nolint:contextcheck // work in flight is finished
		}
		if err != nil {
			cancel(err)
		}
	}, func() {})
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

func (s *shares) record(stored *journal.StoredBatch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value := string(stored.Value)
	if slices.Contains(s.got[stored.Webhook], value) {
		s.twice++
		return
	}
	s.got[stored.Webhook] = append(s.got[stored.Webhook], value)
}

// held returns how many partitions each member delivers.
func (s *shares) held() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := map[string]int{}
	for _, holder := range s.holders {
		held[holder]++
	}
	return held
}

// of returns the partitions of a member.
func (s *shares) of(name string) (numbers []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for number, holder := range s.holders {
		if holder == name {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

func (s *shares) await(want map[string]int) {
	s.t.Helper()
	until(s.t, fmt.Sprintf("the shares are %v", want), func() bool { return maps.Equal(s.held(), want) })
}

func (s *shares) delivered() (count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, values := range s.got {
		count += len(values)
	}
	return count
}

// feed appends numbered batches of many webhooks, in order for each, until stop is called, which returns how many there are of each.
func feed(t *testing.T, webhooks int, journals func() []*journal.Journal) (stop func() map[string]int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var mu sync.Mutex
	counts := map[string]int{}
	for i := range webhooks {
		name := fmt.Sprintf("shop/%d", i)
		group.Go(func() {
			for number := 0; ctx.Err() == nil; {
				all := journals()
				_, err := all[(i+number)%len(all)].Append(context.WithoutCancel(ctx), batch(name, fmt.Sprintf("%q", fmt.Sprintf("%s %d", name, number))))
				if err == nil {
					number++
					mu.Lock()
					counts[name] = number
					mu.Unlock()
				}
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond): // so that delivery keeps up
				}
			}
		})
	}
	return func() map[string]int { cancel(); group.Wait(); return counts }
}

// expect waits until all was delivered, and checks the order.
func (s *shares) expect(counts map[string]int) {
	s.t.Helper()
	all := 0
	for _, count := range counts {
		all += count
	}
	until(s.t, fmt.Sprintf("delivery of all %d", all), func() bool { return s.delivered() >= all })
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, count := range counts {
		for number := range count {
			if want := fmt.Sprintf("[%q]", fmt.Sprintf("%s %d", name, number)); s.got[name][number] != want {
				s.t.Errorf("of %s number %d is %s, want %s", name, number, s.got[name][number], want)
				break
			}
		}
	}
}

// divided are options of a journal on an external server, whose buffer has all partitions.
func divided(t *testing.T, url string) journal.Options {
	t.Helper()
	options, _ := shared(t, url)
	options.Partitions = partition.Count
	return options
}

// Three members deliver a third each. One that joins gets its share, one partition at a time, and one that stops hands its share over at once.
// Nothing is lost, nothing is delivered twice, and the order stays.
func TestMembersShareThePartitions(t *testing.T) {
	t.Parallel()
	testShares(t, divided(t, newExternal(t).url()))
}

func testShares(t *testing.T, options journal.Options) {
	t.Helper()
	s := newShares(t)
	a, b, c := run(t, journal.New(options)), run(t, journal.New(options)), run(t, journal.New(options))
	stopFeed := feed(t, 24, func() []*journal.Journal { return []*journal.Journal{a.Journal, b.Journal, c.Journal} })
	stopA := s.join("a", a.Journal)
	s.await(map[string]int{"a": 12})
	s.most = 0
	s.join("b", b.Journal)
	s.await(map[string]int{"a": 6, "b": 6})
	s.join("c", c.Journal)
	s.await(map[string]int{"a": 4, "b": 4, "c": 4})
	if s.most > 1 {
		t.Errorf("%d partitions were moving at once", s.most)
	}
	begun := time.Now()
	stopA()
	s.await(map[string]int{"b": 6, "c": 6})
	if took := time.Since(begun); took > options.LeaseTime/2 {
		t.Errorf("a planned stop has taken %s", took)
	}
	s.expect(stopFeed())
	if s.twice > 0 {
		t.Errorf("%d batches were delivered twice", s.twice)
	}
}

// A member that loses its connection loses its partitions to the others, after it has stopped. The others go on meanwhile.
func TestLossOfAMemberPausesItsShareOnly(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*proxy) (end func()){
		"disconnected": func(way *proxy) (end func()) { way.set(true); return func() { way.set(false) } },
		"silent":       (*proxy).stall,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newExternal(t)
			way := newProxy(t, e.options.Port)
			s := newShares(t)
			cutOff, options := divided(t, way.url()), divided(t, e.url())
			cutOff.LeaseTime, options.LeaseTime = lease.DefaultTime, lease.DefaultTime
			a, b := run(t, journal.New(cutOff)), run(t, journal.New(options))
			s.join("a", a.Journal)
			s.join("b", b.Journal)
			s.await(map[string]int{"a": 6, "b": 6})
			stopFeed := feed(t, 24, func() []*journal.Journal { return []*journal.Journal{b.Journal} })
			of := s.of("a")
			begun, before := time.Now(), 0
			end := lose(way)
			t.Cleanup(end)
			for time.Since(begun) < lease.DefaultTime/2 {
				until(t, "the other goes on", func() bool { return s.delivered() > before })
				before = s.delivered()
				now := s.of("b")
				if time.Since(begun) < lease.DefaultTime*2/3 && slices.ContainsFunc(now, func(number int) bool { return slices.Contains(of, number) }) {
					t.Errorf("a had %v, and b has %v before the lease time", of, now)
				}
			}
			s.await(map[string]int{"b": 12})
			end()
			s.await(map[string]int{"a": 6, "b": 6})
			s.expect(stopFeed())
		})
	}
}

// What is stored under the old subjects is delivered first, each webhook in order.
func TestBatchesOfOlderReceiversAreDeliveredInOrder(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options := divided(t, e.url())
	options.LeaseTime = lease.DefaultTime
	o := run(t, journal.New(options))
	state, err := e.client().KeyValue(t.Context(), "mandrill-state")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := state.PutString(t.Context(), "leader", "AnOlderReceiver"); err != nil {
		t.Fatal(err)
	}
	o.stop()
	old := run(t, journal.New(options)) // it stores batches for the older receiver
	counts := map[string]int{}
	store := func(o *opened) {
		for i := range 24 {
			name := fmt.Sprintf("shop/%d", i)
			o.append(batch(name, fmt.Sprintf("%q", fmt.Sprintf("%s %d", name, counts[name]))))
			counts[name]++
		}
	}
	store(old)
	store(old)
	info, err := e.batches().Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last, err := e.batches().GetMsg(t.Context(), info.State.LastSeq)
	if err != nil || last.Subject != "mandrill.batch."+streams.Token("shop/23") {
		t.Errorf("a batch is stored under %v, error %v", last, err)
	}
	s := newShares(t)
	s.join("new", old.Journal)
	until(t, "it waits", func() bool { return len(s.held()) == 0 })
	s.await(map[string]int{"new": 12}) // the lease of the older receiver has ended
	store(old)
	store(old)
	s.expect(counts)
}
