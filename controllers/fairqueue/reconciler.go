package fairqueue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// ReconcilerOptions configures a [Reconciler]. All are required.
type ReconcilerOptions struct {
	Next    reconcile.Reconciler
	Group   func(context.Context, reconcile.Request) string // of the objects in a namespace that may be slow together
	Backoff workqueue.TypedRateLimiter[reconcile.Request]   // after errors
	Queue   *Queue
}

// Reconciler runs another reconciler in a queue, with the namespaces as tenants. A controller's worker only hands a request
// over, so that one worker is enough and is never held up. An object is never reconciled twice at the same time.
type Reconciler struct {
	options ReconcilerOptions

	mu      sync.Mutex
	later   func(reconcile.Request, time.Duration) // nil until the controller has started
	objects map[reconcile.Request]*object          // that wait or are being reconciled
}

type object struct {
	running bool
	again   bool // it changed meanwhile
}

// NewReconciler returns a reconciler.
func NewReconciler(options ReconcilerOptions) *Reconciler {
	return &Reconciler{options: options, objects: map[reconcile.Request]*object{}}
}

// Source must be a source of the controller: from it the reconciler has the queue in which an object waits for its next
// reconcile.
func (r *Reconciler) Source() source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.later = queue.AddAfter
		return nil
	})
}

// Start waits until the context ends, and then for the reconciles that run. The manager waits for it before it gives up
// the Lease.
func (r *Reconciler) Start(ctx context.Context) error {
	<-ctx.Done()
	r.options.Queue.Close()
	return nil
}

// Reconcile puts an object into the queue, unless it waits there already. It returns at once.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	r.mu.Lock()
	present := r.objects[request]
	if present != nil {
		present.again = present.running
		r.mu.Unlock()
		return reconcile.Result{}, nil
	}
	r.objects[request] = &object{}
	r.mu.Unlock()
	r.options.Queue.Add(Job{
		Tenant: request.Namespace, Group: r.options.Group(ctx, request),
		Run: func() { r.run(ctx, request) },
	})
	return reconcile.Result{}, nil
}

// run reconciles an object, and again if it changed meanwhile.
func (r *Reconciler) run(ctx context.Context, request reconcile.Request) {
	r.mu.Lock()
	present := r.objects[request]
	present.running = true
	r.mu.Unlock()
	result, err := r.safely(ctx, request)
	delay := result.RequeueAfter
	switch {
	case err == nil:
		r.options.Backoff.Forget(request)
	case ctx.Err() != nil: // the operator ends, which is no error, and nothing is tried again
	case errors.Is(err, reconcile.TerminalError(nil)):
		delay = 0
		log.FromContext(ctx).Error(err, "Reconciler error")
	default:
		delay = r.options.Backoff.When(request)
		log.FromContext(ctx).Error(err, "Reconciler error")
	}
	r.mu.Lock()
	later := r.later
	delete(r.objects, request)
	r.mu.Unlock()
	switch {
	case present.again:
		_, _ = r.Reconcile(ctx, request) // never fails
	case delay > 0 && later != nil:
		later(request, delay)
	}
}

// safely makes an error of a panic, as controller-runtime does: one object must not end the operator.
func (r *Reconciler) safely(ctx context.Context, request reconcile.Request) (result reconcile.Result, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			log.FromContext(ctx).Info("Recovered from a panic", "stack", string(debug.Stack()))
			result, err = reconcile.Result{}, fmt.Errorf("panic: %v", cause)
		}
	}()
	return r.options.Next.Reconcile(ctx, request)
}
