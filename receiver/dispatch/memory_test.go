package dispatch

import (
	"context"
	"testing"
	"testing/synctest"
)

func TestReservationIsServedInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := newMemoryLimit(10)
		all := reservation{limit: limit}
		if ok, err := all.grow(t.Context(), 100); !ok || err != nil { // more than the limit gets all of it
			t.Fatalf("got %v, %v", ok, err)
		}
		if (&reservation{limit: limit}).tryGrow(1) {
			t.Error("granted 1 though nothing is free")
		}
		served := make(chan int64, 3)
		waiting := map[int64]*reservation{}
		for _, bytes := range []int64{8, 2, 5} { // the last one does not fit with the others
			waiting[bytes] = &reservation{limit: limit}
			go func() {
				if ok, err := waiting[bytes].grow(t.Context(), bytes); ok && err == nil {
					served <- bytes
				}
			}()
			synctest.Wait()
		}
		cancelled, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error, 1)
		go func() {
			_, err := (&reservation{limit: limit}).grow(cancelled, 1)
			gaveUp <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-gaveUp; err == nil {
			t.Error("a cancelled request was granted")
		}
		all.release()
		synctest.Wait()
		if len(served) != 2 || <-served+<-served != 10 {
			t.Error("want the first two requests served")
		}
		waiting[8].release()
		synctest.Wait()
		if len(served) != 1 || <-served != 5 {
			t.Error("want the last request served")
		}
		if !waiting[2].tryGrow(3) || waiting[2].tryGrow(1) {
			t.Error("want 3 granted, then nothing")
		}
	})
}

// Later batches of a cycle do not wait for memory: the loaded ones are sent first, which releases it.
func TestReservationOfALaterBatchDoesNotWait(t *testing.T) {
	t.Parallel()
	r := reservation{limit: newMemoryLimit(10)}
	if ok, err := r.grow(t.Context(), 6); !ok || err != nil {
		t.Fatalf("got %v, %v", ok, err)
	}
	if ok, err := r.grow(t.Context(), 6); ok || err != nil {
		t.Errorf("got %v, %v, want false without an error", ok, err)
	}
}
