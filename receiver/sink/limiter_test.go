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

// All requests to one sink count, whatever batch they are of; another sink has its own.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fake{takes: time.Second}
		sender := sink.NewSender(sink.Options{Poster: network, Concurrency: 40})
		var batches sync.WaitGroup
		for range 4 {
			batches.Go(func() { sender.SendOnce(t.Context(), to("sink"), many(50)) })
		}
		batches.Wait()
		if network.most != 40 || len(network.take()) != 200 {
			t.Errorf("%d requests at once, want 40", network.most)
		}
		network.most = 0
		for i := range 3 {
			other := to("sink")
			other.CACerts = strings.Repeat("x", i)
			batches.Go(func() { sender.SendOnce(t.Context(), other, many(32)) })
		}
		batches.Wait()
		if network.most != 96 {
			t.Errorf("%d requests at once to three sinks, want 96", network.most)
		}
	})
}

// The limit is halved when the sink is overloaded, once for what failed together, and grows again with what it accepts.
func TestAdaptiveLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fake{takes: 10 * time.Millisecond}
		sender := sink.NewSender(sink.Options{Poster: network, Concurrency: 32})
		most := func(n int) int {
			network.set(nil)
			network.most = 0
			sender.SendOnce(t.Context(), to("sink"), many(n))
			return network.most
		}
		if n := most(32); n != 32 {
			t.Fatalf("%d at once to begin with, want 32", n)
		}
		for _, want := range []int{16, 8, 4, 2, 1, 1} {
			time.Sleep(time.Second)
			network.set(status(429))
			sender.SendOnce(t.Context(), to("sink"), many(8))
			if n := most(2 * want); n < want || n > want+2 {
				t.Errorf("%d at once, want %d or a little more", n, want)
			}
		}
		for range 40 {
			most(32)
		}
		if n := most(32); n < 30 {
			t.Errorf("%d at once after it has accepted so much, want more", n)
		}
	})
}

func TestCircuit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		network := &fake{}
		sender := sink.NewSender(sink.Options{Poster: network, Metrics: sink.NewMetrics(registry)})
		circuits := func(want int) {
			t.Helper()
			text := fmt.Sprintf("# HELP mandrill_receiver_open_circuits Sinks that failed so often that they are left alone for a while.\n# TYPE mandrill_receiver_open_circuits gauge\nmandrill_receiver_open_circuits %d\n", want)
			if err := testutil.GatherAndCompare(registry, strings.NewReader(text), "mandrill_receiver_open_circuits"); err != nil {
				t.Error(err)
			}
		}
		pass := func(n int) (sent, accepted int) {
			t.Helper()
			list := many(n)
			sender.SendOnce(t.Context(), to("sink"), list)
			for _, item := range list {
				if item.State == sink.Accepted {
					accepted++
				}
			}
			return len(network.take()), accepted
		}
		network.set(status(500))
		pass(9)
		network.set(status(410)) // the sink is there
		pass(1)
		network.set(status(500))
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
				t.Errorf("%d were sent in the pause", sent)
			}
			time.Sleep(time.Millisecond)
			if sent, _ := pass(20); sent != 1 {
				t.Errorf("after %s: %d were sent, want one trial", time.Since(begin), sent)
			}
		}
		circuits(1)
		time.Sleep(30 * time.Second)
		network.set(nil)
		if sent, accepted := pass(20); sent != 20 || accepted != 20 {
			t.Errorf("%d were sent after the trial, want 20", sent)
		}
		circuits(0)
		network.set(status(500))
		if pass(10); time.Since(begin) == 0 {
			t.Error("no time has passed")
		}
		circuits(1)
		time.Sleep(time.Second) // the pause begins anew
		if sent, _ := pass(20); sent != 1 {
			t.Errorf("%d were sent, want one trial", sent)
		}
		time.Sleep(11 * time.Minute)
		sender.SendOnce(t.Context(), to("other"), many(1)) // what is not used is forgotten
		circuits(0)
	})
}

// While the trial is under way the others wait for it, in turn; when it hangs they do not try as well.
func TestTrialThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fake{answer: status(500)}
		sender := sink.NewSender(sink.Options{Poster: network})
		sender.SendOnce(t.Context(), to("sink"), many(10))
		time.Sleep(time.Second)
		network.take()
		network.takes = time.Hour
		begin := time.Now()
		list := many(20)
		sender.SendOnce(t.Context(), to("sink"), list)
		if sent := len(network.take()); sent != 1 || time.Since(begin) != 10*time.Second {
			t.Errorf("%d were sent in %s, want one in the timeout of 10 s", sent, time.Since(begin))
		}
		begin = time.Now()
		sender.SendOnce(t.Context(), to("sink"), list)
		if time.Since(begin) != 0 || sink.Temporary(nil) || !sink.Temporary(list[0].Err) {
			t.Errorf("took %s, error %v; want none and one that may pass", time.Since(begin), list[0].Err)
		}
	})
}

// A client that goes during the trial leaves it to the next one.
func TestTrialThatIsCutShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fake{answer: status(500)}
		sender := sink.NewSender(sink.Options{Poster: network})
		sender.SendOnce(t.Context(), to("sink"), many(10))
		time.Sleep(time.Second)
		network.takes = time.Minute
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		sender.SendOnce(ctx, to("sink"), many(1))
		network.takes = 0
		network.set(nil)
		list := many(5)
		if sender.SendOnce(t.Context(), to("sink"), list); !list[4].Settled() {
			t.Errorf("got %s", states(list))
		}
	})
}

func TestRetryAfterIsRespected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fake{answer: func(string, string) error { return &sink.Error{Status: 429, After: 5 * time.Second} }}
		sender := sink.NewSender(sink.Options{Poster: network})
		sender.SendOnce(t.Context(), to("sink"), many(1))
		network.take()
		network.set(nil)
		begin := time.Now()
		hurried, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		list := many(1)
		sender.SendOnce(hurried, to("sink"), list)
		if time.Since(begin) != 0 || len(network.take()) != 0 || list[0].Attempts != 0 || !sink.Temporary(list[0].Err) {
			t.Errorf("a batch with less time: waited %s, %s, %v", time.Since(begin), states(list), list[0].Err)
		}
		patient, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		sender.SendOnce(patient, to("sink"), list)
		if time.Since(begin) != 5*time.Second || list[0].State != sink.Accepted {
			t.Errorf("a batch with more time: waited %s, %s", time.Since(begin), states(list))
		}
		network.set(func(string, string) error { return &sink.Error{Status: 503, After: 45 * time.Second} })
		sender.SendOnce(t.Context(), to("down"), many(10)) // opens the circuit, until then
		network.take()
		network.set(nil)
		time.Sleep(44 * time.Second)
		list = many(1)
		if sender.SendOnce(t.Context(), to("down"), list); list[0].Settled() {
			t.Error("an open circuit did not last as long as the sink asked")
		}
		time.Sleep(time.Second)
		if sender.SendOnce(t.Context(), to("down"), list); !list[0].Settled() {
			t.Errorf("an open circuit lasted longer than the sink asked: %v", list[0].Err)
		}
	})
}

func TestRetryAfter(t *testing.T) {
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

// Whoever gives up while waiting leaves the queue, and others come in.
func TestQueueOfTheImpatient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fake{takes: 3 * time.Second}
		sender := sink.NewSender(sink.Options{Poster: network, Concurrency: 1})
		var batches sync.WaitGroup
		batches.Go(func() { sender.SendOnce(t.Context(), to("sink"), many(1)) })
		synctest.Wait()
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		left, last := many(1), many(1)
		batches.Go(func() { sender.SendOnce(impatient, to("sink"), left) })
		synctest.Wait()
		batches.Go(func() { sender.SendOnce(t.Context(), to("sink"), last) })
		batches.Wait()
		if left[0].Attempts != 0 || !errors.Is(left[0].Err, context.DeadlineExceeded) || !last[0].Settled() || len(network.take()) != 2 {
			t.Errorf("got %s with %v, and %s", states(left), left[0].Err, states(last))
		}
	})
}

// Who has all time is told how long nothing would be sent, instead of waiting; and a trial is no attempt.
func TestPauseOfASink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fake{}
		sender := sink.NewSender(sink.Options{Poster: network})
		delivery := to("sink")
		expect := func(what string, want time.Duration) {
			t.Helper()
			if got := sender.BlockedFor(delivery.Target); got != want {
				t.Errorf("%s: a pause of %s, want %s", what, got, want)
			}
		}
		expect("a sink that nothing is known of", 0)
		expect("it is no trial", 0)
		network.set(status(500))
		items := many(20)
		sender.SendOnce(t.Context(), delivery, items)
		attempts := 0
		for _, item := range items {
			attempts += item.Attempts
		}
		if attempts < 10 || attempts > 20 {
			t.Errorf("%d attempts before the circuit was open", attempts)
		}
		expect("an open circuit", time.Second)
		time.Sleep(time.Second)
		expect("who may try", 0)
		expect("who comes after", time.Second)
		sender.SendOnce(t.Context(), delivery, items)
		after := 0
		for _, item := range items {
			after += item.Attempts
		}
		if after != attempts {
			t.Errorf("%d attempts, and a trial is none", after-attempts)
		}
		expect("twice as long", 2*time.Second)
		time.Sleep(2 * time.Second)
		network.set(nil)
		sender.SendOnce(t.Context(), delivery, items)
		expect("it works again", 0)
		network.set(func(string, string) error { return &sink.Error{Status: 503, After: 7 * time.Second} })
		sender.SendOnce(t.Context(), delivery, many(1))
		begin := time.Now()
		one := many(1)
		sender.SendOnce(t.Context(), delivery, one)
		if took := time.Since(begin); took > 0 || one[0].Attempts != 0 || delivery.Pause(one[0]) != 7*time.Second {
			t.Errorf("waited for %s with %d attempts, the pause is %s", took, one[0].Attempts, delivery.Pause(one[0]))
		}
		expect("what the sink asks", 7*time.Second)
	})
}
