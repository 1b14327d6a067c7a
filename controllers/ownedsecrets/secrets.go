// Package ownedsecrets reads and writes the Secrets that the operator keeps beside a MandrillWebhook, and tells them from those
// of others: a Secret that the operator did not create is neither overwritten nor deleted with the object.
package ownedsecrets

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

const (
	managedBy     = "app.kubernetes.io/managed-by"
	managedByThis = "mandrill-operator"
)

// WrittenByOperator reports whether a Secret is one that the operator writes: of a signing key, of a sidecar or of routes.
func WrittenByOperator(secret *corev1.Secret) bool { return secret.Labels[managedBy] == managedByThis }

// Store reads and writes the Secrets that the operator keeps beside an object, which owns them.
type Store struct {
	Client   client.Client
	Owner    client.FieldOwner               // the operator's name as a manager of fields
	Reserved func(types.NamespacedName) bool // Secrets that no object may have
}

// Use is one of the Secrets that an object has.
type Use struct {
	Name    string
	Entries []string // keys of its data
	Remedy  string   // how to end a conflict
	// Recognised reports whether the contents are the object's. A Secret without its owner, as after a restore from a backup,
	// is taken back by that.
	Recognised func(context.Context, *corev1.Secret) (bool, error)
	// Valid reports whether the contents can be the operator's.
	Valid func(*corev1.Secret) bool
	From  types.UID // of an object that hands a Secret of this name over, if there is one
}

// isFrom reports whether an owner hands the Secret over.
func (u Use) isFrom(owner metav1.OwnerReference) bool { return u.From != "" && owner.UID == u.From }

// Get reads a Secret of an object; nil if there is none. The object owns it, or it is recognised and the next write makes
// the object own it again. Any other is a conflict. A Secret that others fill loses the object as its owner, so that the
// garbage collector does not delete with the object what is not the object's.
func (s Store) Get(ctx context.Context, webhook *v1alpha1.MandrillWebhook, use Use) (*corev1.Secret, error) {
	var secret corev1.Secret
	name := types.NamespacedName{Namespace: webhook.Namespace, Name: use.Name}
	err := s.Client.Get(ctx, name, &secret)
	if apierrors.IsNotFound(err) && !s.Reserved(name) {
		return nil, nil //nolint:nilnil // there is none
	}
	if apierrors.IsForbidden(err) && !webhook.DeletionTimestamp.IsZero() {
		return nil, nil //nolint:nilnil // the operator's role has been deleted with the namespace, and so is the Secret
	}
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("reading the Secret %q: %w", use.Name, err)
	}
	owned, filled := metav1.IsControlledBy(&secret, webhook), s.filledByOthers(&secret, use)
	switch {
	case filled && (owned || WrittenByOperator(&secret)):
		if err := s.release(ctx, webhook, &secret); err != nil {
			return nil, err
		}
		return nil, controllers.Stalled(v1alpha1.ReasonSecretConflict,
			fmt.Errorf("others write to the Secret %q, so it is not this object's any more: take what the operator did not write out of it, or %s", use.Name, use.Remedy))
	case owned:
		return &secret, nil
	case !filled && !s.Reserved(name):
		if recognised, err := recognise(ctx, webhook, use, &secret); err != nil || recognised {
			return &secret, err
		}
	}
	return nil, controllers.Stalled(v1alpha1.ReasonSecretConflict,
		fmt.Errorf("the Secret %q exists and is not this object's: %s", use.Name, use.Remedy))
}

// recognise reports whether a Secret without the object as its owner is the object's all the same: that of an earlier
// object with the same name, or one that the operator has written and whose owner was lost in a backup.
func recognise(ctx context.Context, webhook *v1alpha1.MandrillWebhook, use Use, secret *corev1.Secret) (bool, error) {
	if owner := metav1.GetControllerOf(secret); owner != nil {
		return isEarlier(*owner, webhook) || use.isFrom(*owner), nil
	}
	if !WrittenByOperator(secret) {
		return false, nil
	}
	return use.Recognised(ctx, secret)
}

// filledByOthers reports whether a Secret has data that the operator did not write. An edit by hand of what the operator
// wrote does not count: the next write reverts it.
func (s Store) filledByOthers(secret *corev1.Secret, use Use) bool {
	for entry := range secret.Data {
		if !slices.Contains(use.Entries, entry) {
			return true
		}
	}
	return s.appliedByOthers(secret) && !use.Valid(secret)
}

// appliedByOthers reports whether a manifest of somebody else's says what the Secret contains.
func (s Store) appliedByOthers(secret *corev1.Secret) bool {
	if _, ok := secret.Annotations[corev1.LastAppliedConfigAnnotation]; ok {
		return true
	}
	return slices.ContainsFunc(secret.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Operation == metav1.ManagedFieldsOperationApply && entry.Manager != string(s.Owner) &&
			entry.FieldsV1 != nil && strings.Contains(entry.FieldsV1.GetRawString(), `"f:data"`)
	})
}

// OwnedByEarlier reports whether a Secret is that of an earlier object with the same name.
func OwnedByEarlier(secret *corev1.Secret, webhook *v1alpha1.MandrillWebhook) bool {
	owner := metav1.GetControllerOf(secret)
	return owner != nil && isEarlier(*owner, webhook)
}

func isEarlier(owner metav1.OwnerReference, webhook *v1alpha1.MandrillWebhook) bool {
	return owner.Kind == "MandrillWebhook" && owner.Name == webhook.Name && owner.UID != webhook.UID
}

// Write writes a Secret of an object: it creates the one that Get did not find, or changes the one that Get returned. If
// another has appeared or the Secret has changed since then, it fails and writes nothing.
func (s Store) Write(ctx context.Context, webhook *v1alpha1.MandrillWebhook, use Use, found *corev1.Secret, data map[string][]byte) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: webhook.Namespace, Name: use.Name}, Type: corev1.SecretTypeOpaque}
	if found != nil {
		secret = found.DeepCopy()
	}
	if secret.Labels == nil {
		secret.Labels = map[string]string{}
	}
	secret.Labels[managedBy] = managedByThis
	secret.OwnerReferences = slices.DeleteFunc(secret.OwnerReferences, func(owner metav1.OwnerReference) bool {
		return owner.UID == webhook.UID || isEarlier(owner, webhook) || use.isFrom(owner)
	})
	secret.OwnerReferences = append(secret.OwnerReferences, *metav1.NewControllerRef(webhook, v1alpha1.GroupVersion.WithKind("MandrillWebhook")))
	secret.Data = data
	var err error
	if found == nil {
		err = s.Client.Create(ctx, secret, s.Owner)
	} else {
		err = s.Client.Patch(ctx, secret, client.MergeFromWithOptions(found, client.MergeFromWithOptimisticLock{}), s.Owner)
	}
	if err != nil {
		return fmt.Errorf("writing the Secret %q: %w", use.Name, err)
	}
	return nil
}

// release makes an object no longer own a Secret.
func (s Store) release(ctx context.Context, webhook *v1alpha1.MandrillWebhook, secret *corev1.Secret) error {
	owns := func(owner metav1.OwnerReference) bool { return owner.UID == webhook.UID }
	if !slices.ContainsFunc(secret.OwnerReferences, owns) {
		return nil
	}
	before := secret.DeepCopy()
	secret.OwnerReferences = slices.DeleteFunc(secret.OwnerReferences, owns)
	err := s.Client.Patch(ctx, secret, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), s.Owner)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("giving up the Secret %q: %w", secret.Name, err)
	}
	return nil
}
