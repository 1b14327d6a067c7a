package view

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
)

// liveTimeout bounds the question to the receivers: the objects have been read, and are worth more than a fresh time.
const liveTimeout = 5 * time.Second

// live puts into the summaries when events came last, as the receivers say. The operator writes these times every 5 minutes at most,
// so that busy webhooks do not make it write all the time. The error says why the times may be older.
func live(ctx context.Context, env *access.Env, cluster *access.Cluster, webhooks []v1alpha1.MandrillWebhook, summaries []Summary) error {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	known, sidecars := map[string]bool{}, []string{}
	for i := range webhooks {
		if of := webhooks[i].Namespace; webhooks[i].Spec.Receiver == v1alpha1.ReceiverSidecar && !known[of] {
			known[of] = true
			sidecars = append(sidecars, of)
		}
	}
	receivers, err := cluster.Receivers(ctx, &env.Flags, sidecars...)
	if err != nil {
		return err
	}
	last, err := cluster.LastReceived(ctx, receivers)
	for i := range summaries {
		s := &summaries[i]
		at, ok := last[s.Namespace+"/"+s.Name]
		switch {
		case ok && (s.LastEventAt == nil || at.After(s.LastEventAt.Time)):
			s.LastEventAt, s.LastEventOf = &metav1.Time{Time: at.Truncate(time.Second)}, OfReceivers
		case ok && err == nil:
			s.LastEventOf = OfReceivers
		}
	}
	return err
}
