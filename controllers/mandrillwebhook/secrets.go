package mandrillwebhook

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
	// AllowURLSecret is the annotation by which a Secret allows spec.urlSecretRef to put a value of it into a URL.
	AllowURLSecret = "mandrill-operator.io/allow-url-secret"

	managedBy     = "app.kubernetes.io/managed-by"
	managedByThis = "mandrill-operator"
)

// mayUseInURL refuses to put a value of a Secret into a URL, unless the Secret allows it. The operator's probe and
// Mandrill carry the value to a URL of the object's choice, so that otherwise the right to create MandrillWebhooks were
// the right to read every Secret of the namespace.
func mayUseInURL(secret *corev1.Secret) error {
	if writtenByOperator(secret) {
		return controllers.Stalled(v1alpha1.ReasonSecretNotAllowed,
			fmt.Errorf("the Secret %q is one that the operator writes: name one of your own in spec.urlSecretRef", secret.Name))
	}
	if secret.Annotations[AllowURLSecret] != "true" {
		return controllers.Stalled(v1alpha1.ReasonSecretNotAllowed,
			fmt.Errorf("the Secret %q does not allow its values in a URL: if it is meant for that, add the annotation %s: \"true\" to it", secret.Name, AllowURLSecret))
	}
	return nil
}

// writtenByOperator reports whether a Secret is one that the operator writes: of a signing key, of a sidecar or of routes.
func writtenByOperator(secret *corev1.Secret) bool { return secret.Labels[managedBy] == managedByThis }

// ownedSecrets reads and writes the Secrets that the operator keeps beside an object, which owns them.
type ownedSecrets struct {
	client   client.Client
	reserved func(types.NamespacedName) bool // Secrets that no object may have
}

// secretUse is one of the Secrets that an object has.
type secretUse struct {
	name    string
	entries []string // keys of its data
	remedy  string   // how to end a conflict
	// recognised reports whether the contents are the object's. A Secret without its owner, as after a restore from a backup,
	// is taken back by that.
	recognised func(context.Context, *corev1.Secret) (bool, error)
	// valid reports whether the contents can be the operator's.
	valid func(*corev1.Secret) bool
}

// get reads a Secret of an object; nil if there is none. The object owns it, or it is recognised and the next write makes
// the object own it again. Any other is a conflict. A Secret that others fill loses the object as its owner, so that the
// garbage collector does not delete with the object what is not the object's.
func (s ownedSecrets) get(ctx context.Context, webhook *v1alpha1.MandrillWebhook, use secretUse) (*corev1.Secret, error) {
	var secret corev1.Secret
	name := types.NamespacedName{Namespace: webhook.Namespace, Name: use.name}
	err := s.client.Get(ctx, name, &secret)
	if apierrors.IsNotFound(err) && !s.reserved(name) {
		return nil, nil //nolint:nilnil // there is none
	}
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("reading the Secret %q: %w", use.name, err)
	}
	owned, filled := metav1.IsControlledBy(&secret, webhook), filledByOthers(&secret, use)
	switch {
	case filled && (owned || writtenByOperator(&secret)):
		if err := s.release(ctx, webhook, &secret); err != nil {
			return nil, err
		}
		return nil, controllers.Stalled(v1alpha1.ReasonSecretConflict,
			fmt.Errorf("others write to the Secret %q, so it is not this object's any more: take what the operator did not write out of it, or %s", use.name, use.remedy))
	case owned:
		return &secret, nil
	case !filled && !s.reserved(name):
		if recognised, err := recognise(ctx, webhook, use, &secret); err != nil || recognised {
			return &secret, err
		}
	}
	return nil, controllers.Stalled(v1alpha1.ReasonSecretConflict,
		fmt.Errorf("the Secret %q exists and is not this object's: %s", use.name, use.remedy))
}

// recognise reports whether a Secret without the object as its owner is the object's all the same: that of an earlier
// object with the same name, or one that the operator has written and whose owner was lost in a backup.
func recognise(ctx context.Context, webhook *v1alpha1.MandrillWebhook, use secretUse, secret *corev1.Secret) (bool, error) {
	if owner := metav1.GetControllerOf(secret); owner != nil {
		return isEarlier(*owner, webhook), nil
	}
	if !writtenByOperator(secret) {
		return false, nil
	}
	return use.recognised(ctx, secret)
}

// filledByOthers reports whether a Secret has data that the operator did not write. An edit by hand of what the operator
// wrote does not count: the next write reverts it.
func filledByOthers(secret *corev1.Secret, use secretUse) bool {
	for entry := range secret.Data {
		if !slices.Contains(use.entries, entry) {
			return true
		}
	}
	return appliedByOthers(secret) && !use.valid(secret)
}

// appliedByOthers reports whether a manifest of somebody else's says what the Secret contains.
func appliedByOthers(secret *corev1.Secret) bool {
	if _, ok := secret.Annotations[corev1.LastAppliedConfigAnnotation]; ok {
		return true
	}
	return slices.ContainsFunc(secret.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Operation == metav1.ManagedFieldsOperationApply && entry.Manager != string(FieldOwner) &&
			entry.FieldsV1 != nil && strings.Contains(entry.FieldsV1.GetRawString(), `"f:data"`)
	})
}

// ownedByEarlier reports whether a Secret is that of an earlier object with the same name.
func ownedByEarlier(secret *corev1.Secret, webhook *v1alpha1.MandrillWebhook) bool {
	owner := metav1.GetControllerOf(secret)
	return owner != nil && isEarlier(*owner, webhook)
}

func isEarlier(owner metav1.OwnerReference, webhook *v1alpha1.MandrillWebhook) bool {
	return owner.Kind == "MandrillWebhook" && owner.Name == webhook.Name && owner.UID != webhook.UID
}

// write writes a Secret of an object: it creates the one that get did not find, or changes the one that get returned. If
// another has appeared or the Secret has changed since then, it fails and writes nothing.
func (s ownedSecrets) write(ctx context.Context, webhook *v1alpha1.MandrillWebhook, use secretUse, found *corev1.Secret, data map[string][]byte) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: webhook.Namespace, Name: use.name}, Type: corev1.SecretTypeOpaque}
	if found != nil {
		secret = found.DeepCopy()
	}
	if secret.Labels == nil {
		secret.Labels = map[string]string{}
	}
	secret.Labels[managedBy] = managedByThis
	secret.OwnerReferences = slices.DeleteFunc(secret.OwnerReferences, func(owner metav1.OwnerReference) bool {
		return owner.UID == webhook.UID || isEarlier(owner, webhook)
	})
	secret.OwnerReferences = append(secret.OwnerReferences, *metav1.NewControllerRef(webhook, v1alpha1.GroupVersion.WithKind("MandrillWebhook")))
	secret.Data = data
	var err error
	if found == nil {
		err = s.client.Create(ctx, secret, FieldOwner)
	} else {
		err = s.client.Patch(ctx, secret, client.MergeFromWithOptions(found, client.MergeFromWithOptimisticLock{}), FieldOwner)
	}
	if err != nil {
		return fmt.Errorf("writing the Secret %q: %w", use.name, err)
	}
	return nil
}

// release makes an object no longer own a Secret.
func (s ownedSecrets) release(ctx context.Context, webhook *v1alpha1.MandrillWebhook, secret *corev1.Secret) error {
	owns := func(owner metav1.OwnerReference) bool { return owner.UID == webhook.UID }
	if !slices.ContainsFunc(secret.OwnerReferences, owns) {
		return nil
	}
	before := secret.DeepCopy()
	secret.OwnerReferences = slices.DeleteFunc(secret.OwnerReferences, owns)
	err := s.client.Patch(ctx, secret, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), FieldOwner)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("giving up the Secret %q: %w", secret.Name, err)
	}
	return nil
}
