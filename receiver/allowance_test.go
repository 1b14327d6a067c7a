package receiver_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/mandrill-operator/mandrill-operator/receiver"
)

func TestAllowance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := receiver.NewAllowance(10)
		must := func(bytes int64) {
			t.Helper()
			if err := a.Take(t.Context(), bytes); err != nil {
				t.Fatal(err)
			}
		}
		must(100) // more than there is, when nothing is taken
		if a.Try(1) {
			t.Error("nothing is left")
		}
		var mu sync.Mutex
		served := map[int64]bool{}
		for _, bytes := range []int64{8, 2, 5} { // the last does not fit beside the others
			go func() {
				if a.Take(t.Context(), bytes) == nil {
					mu.Lock()
					defer mu.Unlock()
					served[bytes] = true
				}
			}()
			synctest.Wait()
		}
		cancelled, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error, 1)
		go func() { gaveUp <- a.Take(cancelled, 1) }()
		synctest.Wait()
		cancel()
		if err := <-gaveUp; err == nil {
			t.Error("who gives up has nothing")
		}
		a.Give(100)
		synctest.Wait()
		if len(served) != 2 || served[5] {
			t.Errorf("served %v, want those who came first", served)
		}
		a.Force(5)
		a.Give(8)
		synctest.Wait()
		if len(served) != 2 {
			t.Errorf("served %v while 7 of 10 are taken", served)
		}
		a.Give(5)
		synctest.Wait()
		if len(served) != 3 {
			t.Errorf("served %v, want all", served)
		}
		if !a.Try(3) || a.Try(1) {
			t.Error("3 are left, and then none")
		}
	})
}
