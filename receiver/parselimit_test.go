package receiver_test

import (
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/mandrill-operator/mandrill-operator/receiver"
)

func TestParseLimitBoundsLargeBodiesOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const large = 1 << 20
		acquire := receiver.ParseLimit()
		slots := max(1, runtime.GOMAXPROCS(0)/2)
		begun, end := make(chan int, slots+2), make(chan struct{})
		parse := func(size int) {
			defer acquire(size)()
			begun <- size
			if size == large {
				<-end
			}
		}
		for range slots + 1 {
			go parse(large)
		}
		synctest.Wait()
		if got := len(begun); got != slots {
			t.Errorf("%d large bodies are parsed at the same time, want %d", got, slots)
		}
		parse(1)
		end <- struct{}{}
		synctest.Wait()
		if got := len(begun); got != slots+2 {
			t.Errorf("%d bodies were parsed, want %d: a small one, and another large one after one ended", got, slots+2)
		}
		close(end)
	})
}
