package scope

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// quotaRetry is how soon to look again whether there is room: no watch sees it.
const quotaRetry = time.Minute

// CheckQuota refuses an object if its namespace has too many that are older. Zero is no limit.
func (s Scope) CheckQuota(ctx context.Context, from client.Reader, limit int, webhook *v1alpha1.MandrillWebhook) error {
	if limit == 0 {
		return nil
	}
	var list v1alpha1.MandrillWebhookList
	if err := from.List(ctx, &list, client.InNamespace(webhook.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing MandrillWebhooks: %w", err)
	}
	before := 0
	for _, other := range list.Items {
		if s.Handles(&other) && other.UID != webhook.UID && other.DeletionTimestamp.IsZero() && Older(&other, webhook) {
			before++
		}
	}
	if before < limit {
		return nil
	}
	return controllers.StalledAt(v1alpha1.ReasonQuotaExceeded, quotaRetry,
		fmt.Errorf("this namespace may have %d MandrillWebhooks and has more: delete those that are not needed, or have the operator run with a higher --max-webhooks-per-namespace", limit))
}

// Older reports whether object a is older than b.
func Older(a, b *v1alpha1.MandrillWebhook) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Namespace+"/"+a.Name < b.Namespace+"/"+b.Name
}
