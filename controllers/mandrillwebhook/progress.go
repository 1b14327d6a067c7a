package mandrillwebhook

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/progress"
)

// during makes calls to Mandrill. While they take long, the status says what is being done.
func (r *Reconciler) during(ctx context.Context, run *state, activity progress.Activity, call func()) {
	written, patch := run.doing(activity)
	var err error
	if progress.During(r.SlowCall, call, func() { err = r.Client.Status().Patch(ctx, written, patch) }) && err == nil {
		r.wrote(run, written)
	} // an object that has changed meanwhile is reconciled again, and another error is that of the write that follows
}

// doing returns the object with a status that says what is being done, and the patch that writes it.
func (s *state) doing(activity progress.Activity) (*v1alpha1.MandrillWebhook, client.Patch) {
	written := s.webhook.DeepCopy()
	written.Status.ObservedGeneration = written.Generation
	activity.Set(&controllers.Conditions{List: &written.Status.Conditions, Generation: written.Generation})
	progress.Settle(written.Status.Conditions, s.before.Status.Conditions)
	return written, client.MergeFromWithOptions(s.before.DeepCopy(), client.MergeFromWithOptimisticLock{})
}

// wrote records that the cluster has a status.
func (r *Reconciler) wrote(run *state, written *v1alpha1.MandrillWebhook) {
	run.before.ResourceVersion, run.webhook.ResourceVersion = written.ResourceVersion, written.ResourceVersion
	run.before.Status = *written.Status.DeepCopy()
	r.said.Set(written)
}
