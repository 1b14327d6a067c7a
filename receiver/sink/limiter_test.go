package sink_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// The limit holds for all batches to a sink together. Another sink has its own.
func TestConcurrencyIsPerSink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fakePoster{latency: time.Second}
		sender := sink.NewSender(sink.Options{Poster: network, Concurrency: 40})
		var batches sync.WaitGroup
		for range 4 {
			batches.Go(func() { sender.SendOnce(t.Context(), deliveryTo("sink"), unorderedItems(50)) })
		}
		batches.Wait()
		if network.most != 40 || len(network.take()) != 200 {
			t.Errorf("%d requests at once, want 40", network.most)
		}
		network.most = 0
		for i := range 3 {
			other := deliveryTo("sink")
			other.CACerts = strings.Repeat("x", i)
			batches.Go(func() { sender.SendOnce(t.Context(), other, unorderedItems(32)) })
		}
		batches.Wait()
		if network.most != 96 {
			t.Errorf("%d requests at once to three sinks, want 96", network.most)
		}
	})
}

// Overload halves the limit, once for requests that fail together. Accepted requests raise it again.
func TestLimitAdaptsToOverload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fakePoster{latency: 10 * time.Millisecond}
		sender := sink.NewSender(sink.Options{Poster: network, Concurrency: 32})
		most := func(n int) int {
			network.set(nil)
			network.most = 0
			sender.SendOnce(t.Context(), deliveryTo("sink"), unorderedItems(n))
			return network.most
		}
		if n := most(32); n != 32 {
			t.Fatalf("%d at once at first, want 32", n)
		}
		for _, want := range []int{16, 8, 4, 2, 1, 1} {
			time.Sleep(time.Second)
			network.set(failWith(429))
			sender.SendOnce(t.Context(), deliveryTo("sink"), unorderedItems(8))
			if n := most(2 * want); n < want || n > want+2 {
				t.Errorf("%d at once, want %d or a little more", n, want)
			}
		}
		for range 40 {
			most(32)
		}
		if n := most(32); n < 30 {
			t.Errorf("%d at once after many accepted requests, want at least 30", n)
		}
	})
}

func TestCircuitOpensAndProbes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		network := &fakePoster{}
		sender := sink.NewSender(sink.Options{Poster: network, Metrics: sink.NewMetrics(registry)})
		circuits := func(want int) {
			t.Helper()
			text := fmt.Sprintf("# HELP mandrill_receiver_open_circuits Open circuits, one per webhook and sink: after repeated failures only circuit probes are sent.\n# TYPE mandrill_receiver_open_circuits gauge\nmandrill_receiver_open_circuits %d\n", want)
			if err := testutil.GatherAndCompare(registry, strings.NewReader(text), "mandrill_receiver_open_circuits"); err != nil {
				t.Error(err)
			}
		}
		pass := func(n int) (sent, accepted int) {
			t.Helper()
			list := unorderedItems(n)
			sender.SendOnce(t.Context(), deliveryTo("sink"), list)
			for _, item := range list {
				if item.State == sink.Accepted {
					accepted++
				}
			}
			return len(network.take()), accepted
		}
		network.set(failWith(500))
		pass(9)
		network.set(failWith(410)) // a refusal shows that the sink works
		pass(1)
		network.set(failWith(500))
		pass(9)
		circuits(0)
		if sent, _ := pass(1); sent != 1 {
			t.Errorf("%d were sent, want 1", sent)
		}
		circuits(1)
		begin := time.Now()
		for _, seconds := range []int{1, 2, 4, 8, 16, 30, 30} {
			pause := time.Duration(seconds) * time.Second
			time.Sleep(pause - time.Millisecond)
			if sent, _ := pass(20); sent != 0 {
				t.Errorf("%d were sent while the circuit rejects all", sent)
			}
			time.Sleep(time.Millisecond)
			if sent, _ := pass(20); sent != 1 {
				t.Errorf("after %s: %d were sent, want one probe", time.Since(begin), sent)
			}
		}
		circuits(1)
		time.Sleep(30 * time.Second)
		network.set(nil)
		if sent, accepted := pass(20); sent != 20 || accepted != 20 {
			t.Errorf("%d were sent after the probe, want 20", sent)
		}
		circuits(0)
		network.set(failWith(500))
		if pass(10); time.Since(begin) == 0 {
			t.Error("no time has passed")
		}
		circuits(1)
		time.Sleep(time.Second) // the shortest pause again
		if sent, _ := pass(20); sent != 1 {
			t.Errorf("%d were sent, want one probe", sent)
		}
		time.Sleep(11 * time.Minute)
		sender.SendOnce(t.Context(), deliveryTo("other"), unorderedItems(1)) // removes idle limiters
		circuits(0)
	})
}

// While a probe is in flight other requests wait for it. If it hangs they are not sent either.
func TestHangingProbeBlocksOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fakePoster{answer: failWith(500)}
		sender := sink.NewSender(sink.Options{Poster: network})
		sender.SendOnce(t.Context(), deliveryTo("sink"), unorderedItems(10))
		time.Sleep(time.Second)
		network.take()
		network.latency = time.Hour
		begin := time.Now()
		list := unorderedItems(20)
		sender.SendOnce(t.Context(), deliveryTo("sink"), list)
		if sent := len(network.take()); sent != 1 || time.Since(begin) != 10*time.Second {
			t.Errorf("%d were sent in %s, want one in the timeout of 10 s", sent, time.Since(begin))
		}
		begin = time.Now()
		sender.SendOnce(t.Context(), deliveryTo("sink"), list)
		if time.Since(begin) != 0 || sink.Temporary(nil) || !sink.Temporary(list[0].Err) {
			t.Errorf("took %s, error %v; want none and a temporary one", time.Since(begin), list[0].Err)
		}
	})
}

// A client that goes away during the probe leaves it to the next one.
func TestAbortedProbeIsRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fakePoster{answer: failWith(500)}
		sender := sink.NewSender(sink.Options{Poster: network})
		sender.SendOnce(t.Context(), deliveryTo("sink"), unorderedItems(10))
		time.Sleep(time.Second)
		network.latency = time.Minute
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		sender.SendOnce(ctx, deliveryTo("sink"), unorderedItems(1))
		network.latency = 0
		network.set(nil)
		list := unorderedItems(5)
		if sender.SendOnce(t.Context(), deliveryTo("sink"), list); !list[4].Settled() {
			t.Errorf("got %s", states(list))
		}
	})
}

func TestRetryAfterDelaysRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fakePoster{answer: func(string, string) error { return &sink.Error{Status: 429, After: 5 * time.Second} }}
		sender := sink.NewSender(sink.Options{Poster: network})
		sender.SendOnce(t.Context(), deliveryTo("sink"), unorderedItems(1))
		network.take()
		network.set(nil)
		begin := time.Now()
		short, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		list := unorderedItems(1)
		sender.SendOnce(short, deliveryTo("sink"), list)
		if time.Since(begin) != 0 || len(network.take()) != 0 || list[0].Attempts != 0 || !sink.Temporary(list[0].Err) {
			t.Errorf("a batch with less time: waited %s, %s, %v", time.Since(begin), states(list), list[0].Err)
		}
		long, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		sender.SendOnce(long, deliveryTo("sink"), list)
		if time.Since(begin) != 5*time.Second || list[0].State != sink.Accepted {
			t.Errorf("a batch with more time: waited %s, %s", time.Since(begin), states(list))
		}
		network.set(func(string, string) error { return &sink.Error{Status: 503, After: 45 * time.Second} })
		sender.SendOnce(t.Context(), deliveryTo("down"), unorderedItems(10)) // opens the circuit for 45 s
		network.take()
		network.set(nil)
		time.Sleep(44 * time.Second)
		list = unorderedItems(1)
		if sender.SendOnce(t.Context(), deliveryTo("down"), list); list[0].Settled() {
			t.Error("an open circuit did not last as long as the sink asked")
		}
		time.Sleep(time.Second)
		if sender.SendOnce(t.Context(), deliveryTo("down"), list); !list[0].Settled() {
			t.Errorf("an open circuit lasted longer than the sink asked: %v", list[0].Err)
		}
	})
}

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-1": 0, "1.5": 0, "soon": 0,
		"600": 10 * time.Minute, "601": 10 * time.Minute, "99999999999999999999999": 10 * time.Minute,
		"Sat, 21 Nov 2026 02:00:09 GMT": 9 * time.Second, "Sat, 21 Nov 2026 01:00:00 GMT": 0, "Sat, 21 Nov 2099 02:00:00 GMT": 10 * time.Minute,
	} {
		if got := sink.RetryAfter(text, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// A request whose context ends while it waits leaves the queue, and the next one is admitted.
func TestCanceledWaiterLeavesTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fakePoster{latency: 3 * time.Second}
		sender := sink.NewSender(sink.Options{Poster: network, Concurrency: 1})
		var batches sync.WaitGroup
		batches.Go(func() { sender.SendOnce(t.Context(), deliveryTo("sink"), unorderedItems(1)) })
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		canceled, last := unorderedItems(1), unorderedItems(1)
		batches.Go(func() { sender.SendOnce(short, deliveryTo("sink"), canceled) })
		synctest.Wait()
		batches.Go(func() { sender.SendOnce(t.Context(), deliveryTo("sink"), last) })
		batches.Wait()
		if canceled[0].Attempts != 0 || !errors.Is(canceled[0].Err, context.DeadlineExceeded) || !last[0].Settled() || len(network.take()) != 2 {
			t.Errorf("got %s with %v, and %s", states(canceled), canceled[0].Err, states(last))
		}
	})
}

// A caller without a deadline is told how long nothing would be sent, instead of waiting. A failed probe is no attempt.
func TestBlockedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fakePoster{}
		sender := sink.NewSender(sink.Options{Poster: network})
		delivery := deliveryTo("sink")
		expect := func(what string, want time.Duration) {
			t.Helper()
			if got := sender.BlockedFor(delivery.Target); got != want {
				t.Errorf("%s: blocked for %s, want %s", what, got, want)
			}
		}
		expect("a sink without requests", 0)
		network.set(failWith(500))
		items := unorderedItems(20)
		sender.SendOnce(t.Context(), delivery, items)
		attempts := attemptsOf(items)
		if attempts < 10 || attempts > 20 {
			t.Errorf("%d attempts before the circuit was open", attempts)
		}
		expect("an open circuit", time.Second)
		time.Sleep(time.Second)
		expect("a probe may be sent", 0)
		sender.SendOnce(t.Context(), delivery, items)
		if after := attemptsOf(items); after != attempts {
			t.Errorf("%d attempts, and a failed probe is none", after-attempts)
		}
		expect("after a failed probe", 2*time.Second)
		time.Sleep(2 * time.Second)
		network.set(nil)
		sender.SendOnce(t.Context(), delivery, items)
		expect("the sink works again", 0)
		network.set(func(string, string) error { return &sink.Error{Status: 503, After: 7 * time.Second} })
		sender.SendOnce(t.Context(), delivery, unorderedItems(1))
		begin := time.Now()
		late := unorderedItems(1)
		delivery.Retry = &sink.Retry{}
		sender.SendOnce(t.Context(), delivery, late)
		if took, verdict := time.Since(begin), delivery.Verdict(late[0], 0, 0); took > 0 || late[0].Attempts != 0 || verdict != (sink.Verdict{Action: sink.ActionRetry, After: 7 * time.Second}) {
			t.Errorf("waited for %s with %d attempts, the verdict is %+v", took, late[0].Attempts, verdict)
		}
		expect("Retry-After", 7*time.Second)
	})
}

func attemptsOf(items []*sink.Item) (attempts int) {
	for _, item := range items {
		attempts += item.Attempts
	}
	return attempts
}

// While the circuit is open one caller a second may send, and only its claim blocks the others.
func TestClaimProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fakePoster{}
		sender := sink.NewSender(sink.Options{Poster: network})
		target := deliveryTo("sink").Target
		expect := func(what string, wantClaim bool, wantBlocked time.Duration) {
			t.Helper()
			if got := sender.ClaimProbe(target); got != wantClaim {
				t.Errorf("%s: claimed %t, want %t", what, got, wantClaim)
			}
			if got := sender.BlockedFor(target); got != wantBlocked {
				t.Errorf("%s: blocked for %s after the claim, want %s", what, got, wantBlocked)
			}
		}
		expect("a closed circuit", true, 0)
		expect("a closed circuit again", true, 0)
		network.set(failWith(500))
		sender.SendOnce(t.Context(), deliveryTo("sink"), unorderedItems(20))
		expect("an open circuit", false, time.Second)
		time.Sleep(time.Second)
		for range 2 {
			if got := sender.BlockedFor(target); got != 0 {
				t.Errorf("asking claims nothing: blocked for %s", got)
			}
		}
		expect("the first caller", true, time.Second)
		expect("the second caller", false, time.Second)
		time.Sleep(999 * time.Millisecond)
		expect("the second caller, too early", false, time.Millisecond)
		time.Sleep(time.Millisecond)
		expect("the second caller, a second later", true, time.Second)
		sender.SendOnce(t.Context(), deliveryTo("sink"), unorderedItems(1))
		expect("after a failed probe", false, 2*time.Second)
		network.set(nil)
		time.Sleep(2 * time.Second)
		expect("the next probe", true, time.Second)
		sender.SendOnce(t.Context(), deliveryTo("sink"), unorderedItems(1))
		expect("the circuit is closed again", true, 0)
	})
}
