package progress

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// Said holds what Ready says of each object by the last reconcile of this operator. It is in memory only. The status may say
// something else: another operator has written it, or the reconcile compared its outcome with a status that was not the newest.
type Said struct {
	mu   sync.Mutex
	last map[types.UID]metav1.Condition
}

// Set records what the status of an object is to say.
func (s *Said) Set(object *v1alpha1.MandrillWebhook) {
	ready := meta.FindStatusCondition(object.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[types.UID]metav1.Condition{}
	}
	s.last[object.UID] = *ready
}

// Differs reports whether the status of an object says something else. It does not of an object that is not known.
func (s *Said) Differs(object *v1alpha1.MandrillWebhook) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, known := s.last[object.UID]
	ready := meta.FindStatusCondition(object.Status.Conditions, v1alpha1.ConditionReady)
	return known && (ready == nil || ready.Status != last.Status || ready.Reason != last.Reason || ready.Message != last.Message)
}

// LookAgain looks again at objects whose status differs, after a pause, which bounds how often two operators that disagree write it.
// By then a status that was on its way has arrived.
func (s *Said) LookAgain(from client.Reader, pause time.Duration) handler.EventHandler {
	return handler.Funcs{UpdateFunc: func(_ context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		if !s.Differs(e.ObjectNew.(*v1alpha1.MandrillWebhook)) {
			return
		}
		request := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(e.ObjectNew)}
		time.AfterFunc(pause, func() { //nolint:contextcheck // it outlives the event
			ctx, cancel := context.WithTimeout(context.Background(), pause)
			defer cancel()
			var now v1alpha1.MandrillWebhook
			if from.Get(ctx, request.NamespacedName, &now) == nil && s.Differs(&now) {
				queue.Add(request)
			}
		})
	}}
}

// Overtaken reports whether the status of an object differs by now from the one that a reconcile has left as it was. The reconcile may have
// begun before a status of its own had arrived in the cache, and LookAgain may have seen that one arrive before the reconcile ended.
func (s *Said) Overtaken(ctx context.Context, from client.Reader, object *v1alpha1.MandrillWebhook) bool {
	var now v1alpha1.MandrillWebhook
	return from.Get(ctx, client.ObjectKeyFromObject(object), &now) == nil && now.UID == object.UID && s.Differs(&now)
}

// Forget forgets an object.
func (s *Said) Forget(object types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.last, object)
}
