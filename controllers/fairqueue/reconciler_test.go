package fairqueue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mandrill-operator/mandrill-operator/controllers/fairqueue"
)

var request = reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: "transactional"}}

// harness runs a reconciler with a queue that hands requests over at once, as a controller does.
type harness struct {
	fair    *fairqueue.Reconciler
	mu      sync.Mutex
	running int
	delays  []time.Duration // that the reconciler asked for
}

// recordingQueue is the part of a controller's queue that the reconciler uses.
type recordingQueue struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	h *harness
}

func (q recordingQueue) AddAfter(r reconcile.Request, delay time.Duration) {
	q.h.mu.Lock()
	defer q.h.mu.Unlock()
	q.h.delays = append(q.h.delays, delay)
	time.AfterFunc(delay, func() { _, _ = q.h.fair.Reconcile(context.Background(), r) })
}

func newHarness(t *testing.T, next reconcile.Func) *harness {
	t.Helper()
	h := &harness{}
	h.fair = fairqueue.NewReconciler(fairqueue.ReconcilerOptions{
		Next: reconcile.Func(func(ctx context.Context, r reconcile.Request) (reconcile.Result, error) {
			h.mu.Lock()
			if h.running++; h.running > 1 {
				t.Error("an object is reconciled twice at the same time")
			}
			h.mu.Unlock()
			defer func() {
				h.mu.Lock()
				h.running--
				h.mu.Unlock()
			}()
			return next(ctx, r)
		}),
		Group:   func(context.Context, reconcile.Request) string { return "" },
		Backoff: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Second, time.Minute),
		Queue:   fairqueue.New(options),
	})
	if err := h.fair.Source().Start(t.Context(), recordingQueue{h: h}); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *harness) enqueue(t *testing.T) {
	t.Helper()
	if result, err := h.fair.Reconcile(t.Context(), request); err != nil || !result.IsZero() {
		t.Errorf("got %v, %v", result, err)
	}
}

// A change that comes while an object is reconciled is not lost: it is reconciled once more, however many there were.
func TestChangeDuringAReconcileCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		h := newHarness(t, func(context.Context, reconcile.Request) (reconcile.Result, error) {
			runs++
			<-time.After(time.Minute)
			return reconcile.Result{}, nil
		})
		h.enqueue(t)
		h.enqueue(t) // it may not have started
		wait(time.Second)
		h.enqueue(t)
		h.enqueue(t)
		wait(time.Hour)
		if runs != 2 {
			t.Errorf("it was reconciled %d times, want 2", runs)
		}
	})
}

// Errors are repeated after a back-off that grows, results after their time, and stalled objects not at all.
func TestObjectComesAgainAsItsReconcileSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		failed := errors.New("failed")
		outcomes := []struct {
			after time.Duration
			err   error
		}{{0, failed}, {0, failed}, {0, failed}, {7 * time.Second, nil}, {0, failed}, {0, reconcile.TerminalError(failed)}}
		h := newHarness(t, func(context.Context, reconcile.Request) (reconcile.Result, error) {
			next := outcomes[0]
			outcomes = outcomes[1:]
			return reconcile.Result{RequeueAfter: next.after}, next.err
		})
		h.enqueue(t)
		wait(time.Hour)
		want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 7 * time.Second, time.Second}
		if !slices.Equal(h.delays, want) || len(outcomes) != 0 {
			t.Errorf("the pauses are %v, want %v; %d reconciles are left", h.delays, want, len(outcomes))
		}
	})
}

func TestPanicIsAnErrorOfOneObject(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		h := newHarness(t, func(context.Context, reconcile.Request) (reconcile.Result, error) {
			if runs++; runs == 1 {
				panic("a bug")
			}
			return reconcile.Result{}, nil
		})
		h.enqueue(t)
		wait(time.Hour)
		if runs != 2 || len(h.delays) != 1 {
			t.Errorf("%d reconciles, pauses %v", runs, h.delays)
		}
	})
}

// The operator keeps its Lease until the reconciles that run have ended.
func TestStartWaitsForReconciles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := false
		h := newHarness(t, func(context.Context, reconcile.Request) (reconcile.Result, error) {
			<-time.After(time.Minute)
			ended = true
			return reconcile.Result{}, nil
		})
		h.enqueue(t)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := h.fair.Start(ctx); err != nil || !ended {
			t.Errorf("got error %v; the reconcile has ended: %t", err, ended)
		}
	})
}

// The end of the operator interrupts reconciles. That is no error of an object: nothing is logged, and nothing is tried again.
func TestEndOfTheOperatorIsNoError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
			<-ctx.Done()
			return reconcile.Result{}, fmt.Errorf("listing webhooks: %w", ctx.Err())
		})
		var logged []string
		logger := funcr.New(func(_, args string) { logged = append(logged, args) }, funcr.Options{})
		ctx, cancel := context.WithCancel(log.IntoContext(t.Context(), logger))
		if _, err := h.fair.Reconcile(ctx, request); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel()
		if err := h.fair.Start(ctx); err != nil || len(logged) > 0 || len(h.delays) > 0 {
			t.Errorf("got error %v, log %q, pauses %v", err, logged, h.delays)
		}
	})
}
