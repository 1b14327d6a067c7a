package delivery

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// Objects are the MandrillWebhooks as the cache has them. They are looked at every few seconds, and for each webhook of a
// report, so they are not copied: nobody may change them.
type Objects struct {
	mu   sync.Mutex
	list map[types.NamespacedName]*v1alpha1.MandrillWebhook
}

// Follow makes the objects those of a cache.
func (o *Objects) Follow(ctx context.Context, from cache.Cache) error {
	informer, err := from.GetInformer(ctx, &v1alpha1.MandrillWebhook{})
	if err != nil {
		return fmt.Errorf("following MandrillWebhooks: %w", err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { o.set(object) },
		UpdateFunc: func(_, object any) { o.set(object) },
		DeleteFunc: func(object any) {
			if unknown, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
				object = unknown.Obj
			}
			if webhook, ok := object.(*v1alpha1.MandrillWebhook); ok {
				o.mu.Lock()
				defer o.mu.Unlock()
				delete(o.list, client.ObjectKeyFromObject(webhook))
			}
		},
	})
	return err
}

func (o *Objects) set(object any) {
	if webhook, ok := object.(*v1alpha1.MandrillWebhook); ok {
		o.Set(webhook)
	}
}

// Set adds an object, or replaces it.
func (o *Objects) Set(webhook *v1alpha1.MandrillWebhook) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.list == nil {
		o.list = map[types.NamespacedName]*v1alpha1.MandrillWebhook{}
	}
	o.list[client.ObjectKeyFromObject(webhook)] = webhook
}

// Get returns an object, nil if there is none.
func (o *Objects) Get(name types.NamespacedName) *v1alpha1.MandrillWebhook {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.list[name]
}

// All returns all objects, in any order.
func (o *Objects) All() []*v1alpha1.MandrillWebhook {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]*v1alpha1.MandrillWebhook, 0, len(o.list))
	for _, webhook := range o.list {
		list = append(list, webhook)
	}
	return list
}
