package receiver_test

import (
	"runtime"
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
