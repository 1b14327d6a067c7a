// Package scope says which MandrillWebhooks of a cluster an installation handles, and limits what the operator reads to their
// namespaces.
package scope

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// finalizer is the finalizer of the installation without a name. Those of others have the name at their end.
const finalizer = "mandrill-operator.io/webhook"

// MaxName bounds the name of an installation, which is a part of a finalizer.
const MaxName = 40

// Scope is what one of several installations in a cluster handles.
type Scope struct {
	Installation string   // value of spec.installation of its objects
	Namespaces   []string // of its objects; all if empty
}

// Handles reports whether an object in a watched namespace is the installation's.
func (s Scope) Handles(webhook *v1alpha1.MandrillWebhook) bool {
	return webhook.Spec.Installation == s.Installation
}

// Watches reports whether the objects of a namespace are in the cache.
func (s Scope) Watches(namespace string) bool {
	return len(s.Namespaces) == 0 || slices.Contains(s.Namespaces, namespace)
}

// Finalizer keeps an object until its webhook at Mandrill is gone. Each installation has its own, so that one can let an
// object go that another has taken.
func (s Scope) Finalizer() string {
	if s.Installation == "" {
		return finalizer
	}
	return finalizer + "-" + s.Installation
}

// LeaseName is the name of the Lease that the operators of the installation compete for.
func (s Scope) LeaseName() string {
	return strings.TrimSuffix("mandrill-operator-"+s.Installation, "-")
}

// Holds reports whether the installation handles an object, or has not let it go yet.
func (s Scope) Holds(webhook *v1alpha1.MandrillWebhook) bool {
	return s.Handles(webhook) || controllerutil.ContainsFinalizer(webhook, s.Finalizer())
}

// IsLeaving reports whether an object is another installation's now, and this one still holds it.
func (s Scope) IsLeaving(webhook *v1alpha1.MandrillWebhook) bool {
	return !s.Handles(webhook) && s.Holds(webhook)
}

// OthersHold reports whether another installation has begun to handle an object.
func (s Scope) OthersHold(webhook *v1alpha1.MandrillWebhook) bool {
	return slices.ContainsFunc(webhook.Finalizers, func(other string) bool {
		return other != s.Finalizer() && (other == finalizer || strings.HasPrefix(other, finalizer+"-"))
	})
}

// OthersServe reports whether the receiver of another installation serves an object as its spec is now.
func (s Scope) OthersServe(webhook *v1alpha1.MandrillWebhook) bool {
	stored := meta.FindStatusCondition(webhook.Status.Conditions, v1alpha1.ConditionSigningKeyStored)
	return s.OthersHold(webhook) && stored != nil && stored.Reason == v1alpha1.ReasonSucceeded && stored.ObservedGeneration == webhook.Generation
}

// IsReleased reports whether an object is being deleted, and no installation holds it any more.
func (s Scope) IsReleased(webhook *v1alpha1.MandrillWebhook) bool {
	return !webhook.DeletionTimestamp.IsZero() && !controllerutil.ContainsFinalizer(webhook, s.Finalizer()) && !s.OthersHold(webhook)
}

// Limit limits a cache to the namespaces.
func (s Scope) Limit(options *cache.Options) {
	if len(s.Namespaces) == 0 {
		return
	}
	options.NewInformer = newInformer
	options.DefaultNamespaces = map[string]cache.Config{}
	for _, namespace := range s.Namespaces {
		options.DefaultNamespaces[namespace] = cache.Config{}
	}
}
