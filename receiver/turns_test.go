package receiver_test

import (
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/mandrill-operator/mandrill-operator/receiver"
)

// Small bodies have no turns and never wait for one.
func TestTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const large = 1 << 20
		do := receiver.Turns()
		places := max(1, runtime.GOMAXPROCS(0)/2)
		begun, end := make(chan int, places+2), make(chan struct{})
		for range places + 1 {
			go do(large, func() { begun <- large; <-end })
		}
		synctest.Wait()
		if got := len(begun); got != places {
			t.Errorf("%d large bodies are worked on at the same time, want %d", got, places)
		}
		do(1, func() { begun <- 1 })
		end <- struct{}{}
		synctest.Wait()
		if got := len(begun); got != places+2 {
			t.Errorf("%d bodies were worked on, want %d: a small one and, when one was done, the next", got, places+2)
		}
		close(end)
	})
}

// Who has waited for a turn begins before the one who had it goes on with something else.
func TestNextTurnBegins(t *testing.T) { //nolint:paralleltest // it changes how many processors there are
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const large, tries = 1 << 20, 50
	began := 0
	for range tries { // now and then the scheduler sees to others first
		synctest.Test(t, func(*testing.T) {
			do := receiver.Turns()
			var next atomic.Bool
			do(large, func() {
				go do(large, func() { next.Store(true) })
				synctest.Wait() // until it waits
			})
			if next.Load() {
				began++
			}
		})
	}
	if began < tries/2 {
		t.Errorf("%d of %d times the next one had begun", began, tries)
	}
}
