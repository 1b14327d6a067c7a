// Package deletion has what the operator knows of objects that are being deleted, and removes their finalizers.
package deletion

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// RemoveFinalizer removes a finalizer by its position, so that a change of anything else is no conflict.
func RemoveFinalizer(ctx context.Context, from client.Client, webhook *v1alpha1.MandrillWebhook, finalizer string) error {
	at := slices.Index(webhook.Finalizers, finalizer)
	path := fmt.Sprintf("/metadata/finalizers/%d", at)
	operations, err := json.Marshal([]map[string]string{
		{"op": "test", "path": "/metadata/uid", "value": string(webhook.UID)},
		{"op": "test", "path": path, "value": finalizer},
		{"op": "remove", "path": path},
	})
	if err != nil {
		return err
	}
	err = from.Patch(ctx, webhook.DeepCopy(), client.RawPatch(types.JSONPatchType, operations))
	if apierrors.IsInvalid(err) { // the finalizers are not those of the cache
		return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("mandrillwebhooks").GroupResource(), webhook.Name, err)
	}
	return client.IgnoreNotFound(err)
}

// InTerminatingNamespace reports whether the object's namespace is being deleted: nothing new can be created there, such as a Secret
// with the API key. It asks by a creation that is not carried out, which needs no right to read namespaces.
func InTerminatingNamespace(ctx context.Context, from client.Client, webhook *v1alpha1.MandrillWebhook) bool {
	probe := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: webhook.Namespace, GenerateName: "mandrill-operator-"}}
	return apierrors.HasStatusCause(from.Create(ctx, probe, client.DryRunAll), corev1.NamespaceTerminatingCause)
}

// FailingSince returns when deleting first failed, zero if it has not. The deletion timestamp would not do: the
// operator may have been away since then.
func FailingSince(webhook *v1alpha1.MandrillWebhook) time.Time {
	reconciling := meta.FindStatusCondition(webhook.Status.Conditions, v1alpha1.ConditionReconciling)
	if reconciling == nil || reconciling.Reason != v1alpha1.ReasonDeleting {
		return time.Time{}
	}
	return reconciling.LastTransitionTime.Time
}

// Memory holds objects that are being deleted. It is in memory only.
type Memory struct {
	mu      sync.Mutex
	objects map[types.UID]object
}

type object struct {
	seen time.Time // when it was first seen
	done time.Time
}

func (m *Memory) change(uid types.UID, change func(*object)) object {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.objects == nil {
		m.objects = map[types.UID]object{}
	}
	o := m.objects[uid]
	change(&o)
	m.objects[uid] = o
	return o
}

// remembered is how long it is known that nothing of an object is left: longer than any cache shows the object with its finalizer.
const remembered = time.Hour

// Done records that nothing of an object exists at Mandrill any more, although its finalizer may. What was done must be known
// when removing the finalizer is tried again, and when a cache still shows the object after that: by then the Secrets may be gone.
func (m *Memory) Done(uid types.UID, now time.Time) {
	m.change(uid, func(o *object) { o.done = now })
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.objects, func(_ types.UID, o object) bool { return !o.done.IsZero() && now.Sub(o.done) > remembered })
}

// IsDone reports whether nothing of an object exists at Mandrill any more.
func (m *Memory) IsDone(uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.objects[uid].done.IsZero()
}

// Left returns how much is left of a time that began when the object was first seen being deleted. An object that was deleted
// longer ago, while the operator was away, has nothing left.
func (m *Memory) Left(webhook *v1alpha1.MandrillWebhook, period time.Duration, now time.Time) time.Duration {
	if now.Sub(webhook.DeletionTimestamp.Time) >= period {
		return 0
	}
	o := m.change(webhook.UID, func(o *object) {
		if o.seen.IsZero() {
			o.seen = now
		}
	})
	return max(0, o.seen.Add(period).Sub(now))
}
