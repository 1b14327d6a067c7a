package scope

import (
	"context"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// newInformer makes an informer for one kind in one watched namespace. Of Secrets, Services and sinks it may begin without any. Of
// MandrillWebhooks it may not, because the routes of objects that do not exist are dropped; a ClusterRole lets the operator list them in a
// namespace that is not there.
func newInformer(from toolscache.ListerWatcher, object runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	if _, ok := object.(*v1alpha1.MandrillWebhook); !ok {
		from = &reluctant{ListerWatcher: from, next: toolscache.ToListerWatcherWithContext(from)}
	}
	return toolscache.NewSharedIndexInformer(from, object, resync, indexers)
}

// reluctant lists nothing in a namespace that the operator may not read, until it may: the manager starts only when every informer has a
// list, and a namespace that is not there, whose Role is not there either, would keep it from handling the others. Once something was
// listed, Forbidden is an error, so that what is known is not lost with a Role.
type reluctant struct {
	toolscache.ListerWatcher

	next      toolscache.ListerWatcherWithContext
	read      atomic.Bool // once
	announced atomic.Bool
}

// ListWithContext implements [toolscache.ListerWithContext].
func (r *reluctant) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	list, err := r.next.ListWithContext(ctx, options)
	if err == nil {
		r.read.Store(true)
	}
	if !apierrors.IsForbidden(err) || r.read.Load() {
		return list, err
	}
	if r.announced.CompareAndSwap(false, true) {
		ctrl.Log.Error(err, "Could not read a namespace of --watch-namespaces: it does not exist, or the operator has no Role there. "+
			"The other namespaces are served, and this one within a minute once it can be read")
	}
	return &metav1.PartialObjectMetadataList{ListMeta: metav1.ListMeta{ResourceVersion: "0"}}, nil
}

// WatchWithContext implements [toolscache.WatcherWithContext].
func (r *reluctant) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	events, err := r.next.WatchWithContext(ctx, options)
	if err == nil {
		r.read.Store(true)
	}
	return events, err
}
