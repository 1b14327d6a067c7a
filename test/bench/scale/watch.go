package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

// progressInterval is how often a long wait logs its progress.
const progressInterval = 10 * time.Second

// watcher watches which MandrillWebhooks are Ready.
type watcher struct {
	stop context.CancelFunc

	mu      sync.Mutex
	ready   map[client.ObjectKey]int64  // the generation that is Ready
	waiting map[client.ObjectKey]string // why it is not
	changed chan struct{}               // closed at the next change
}

func watch(ctx context.Context, config *rest.Config, scheme *runtime.Scheme) (*watcher, error) {
	ctx, stop := context.WithCancel(ctx)
	w := &watcher{stop: stop, ready: map[client.ObjectKey]int64{}, waiting: map[client.ObjectKey]string{}, changed: make(chan struct{})}
	objects, err := cache.New(config, cache.Options{Scheme: scheme, DefaultTransform: cache.TransformStripManagedFields()})
	if err != nil {
		return w, fmt.Errorf("creating a cache: %w", err)
	}
	informer, err := objects.GetInformer(ctx, &v1alpha1.MandrillWebhook{})
	if err != nil {
		return w, fmt.Errorf("watching MandrillWebhooks: %w", err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    w.record,
		UpdateFunc: func(_, object any) { w.record(object) },
	})
	if err != nil {
		return w, fmt.Errorf("watching MandrillWebhooks: %w", err)
	}
	go func() { _ = objects.Start(ctx) }() // ends with the context
	if !objects.WaitForCacheSync(ctx) {
		return w, fmt.Errorf("watching MandrillWebhooks: %w", context.Cause(ctx))
	}
	return w, nil
}

// record records the state of an object. The benchmark deletes none.
func (w *watcher) record(object any) {
	webhook, ok := object.(*v1alpha1.MandrillWebhook)
	if !ok {
		return
	}
	key := client.ObjectKeyFromObject(webhook)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.ready, key)
	delete(w.waiting, key)
	condition := meta.FindStatusCondition(webhook.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case condition == nil:
		w.waiting[key] = "not reconciled yet"
	case condition.Status == metav1.ConditionTrue && webhook.Status.ObservedGeneration == webhook.Generation:
		w.ready[key] = webhook.Generation
	default:
		w.waiting[key] = condition.Reason + ": " + condition.Message
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// awaitCount waits until a number of objects are Ready.
func (w *watcher) awaitCount(ctx context.Context, count int, limit time.Duration) error {
	return w.await(ctx, limit, func() bool { return len(w.ready) >= count })
}

// awaitObject waits until a generation of one object, or a later one, is Ready.
func (w *watcher) awaitObject(ctx context.Context, object client.Object, limit time.Duration) error {
	key, generation := client.ObjectKeyFromObject(object), object.GetGeneration()
	return w.await(ctx, limit, func() bool { return w.ready[key] >= generation })
}

// await waits for a condition on what is Ready.
func (w *watcher) await(ctx context.Context, limit time.Duration, holds func() bool) error {
	timeout := time.After(limit)
	progress := time.NewTicker(progressInterval)
	defer progress.Stop()
	for {
		w.mu.Lock()
		done, changed := holds(), w.changed
		w.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timeout:
			return fmt.Errorf("not all objects became Ready within %s: %s", limit, w.summary())
		case <-progress.C:
			harness.Logf("%s", w.summary())
		case <-changed:
		}
	}
}

// summary returns how many objects are Ready, and why one of the others is not.
func (w *watcher) summary() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := fmt.Sprintf("%d objects are Ready, %d are not", len(w.ready), len(w.waiting))
	for key, why := range w.waiting { // any of them
		return fmt.Sprintf("%s, such as %s: %s", text, key, why)
	}
	return text
}
