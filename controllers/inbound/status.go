package inbound

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
)

// MayExist reports whether an object may have inbound routes at Mandrill.
func MayExist(webhook *v1alpha1.MandrillWebhook) bool {
	return len(webhook.Status.InboundRoutes) > 0 || meta.FindStatusCondition(webhook.Status.Conditions, v1alpha1.ConditionInboundReady) != nil
}

// IsSetUp reports whether the routes of this generation have been set up.
func IsSetUp(webhook *v1alpha1.MandrillWebhook) bool {
	condition := meta.FindStatusCondition(webhook.Status.Conditions, v1alpha1.ConditionInboundReady)
	return condition != nil && condition.ObservedGeneration == webhook.Generation &&
		(condition.Reason == v1alpha1.ReasonSucceeded || condition.Reason == v1alpha1.ReasonMXRecordMissing)
}

// Missing says why a domain lacks a route of the object after the changes were made.
func Missing(domain account.Domain, want v1alpha1.InboundRoute, retry time.Duration) error {
	for _, route := range domain.Routes {
		if route.Pattern == want.Pattern {
			return controllers.StalledAt(v1alpha1.ReasonInboundRouteConflict, retry,
				fmt.Errorf("the domain %s has a route for %q that posts to another URL: remove it in Mandrill or from its MandrillWebhook, or choose another pattern", want.Domain, want.Pattern))
		}
	}
	return fmt.Errorf("the domain %s does not list the route for %q: look at it in Mandrill", want.Domain, want.Pattern)
}
