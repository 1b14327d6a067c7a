// Package progress says in the status what is being done for an object while a call to Mandrill takes long. webhooks/add may take
// two minutes, because Mandrill first asks the URL for an answer.
package progress

import (
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// Activity is what is being done for an object.
type Activity struct {
	Condition string // that is False meanwhile; empty for a deletion
	Reason    string
	Message   string
}

// Set sets the conditions that say what is being done.
func (a Activity) Set(conditions *controllers.Conditions) {
	if a.Condition == "" { // Reconciling has the time since when deleting fails
		conditions.Set(v1alpha1.ConditionReady, metav1.ConditionFalse, a.Reason, a.Message)
		return
	}
	conditions.Set(a.Condition, metav1.ConditionFalse, a.Reason, a.Message)
	conditions.Summarise(controllers.Waiting(a.Reason, 0, errors.New(a.Message)))
}

// During makes a call. If that takes longer than slow, say is called beside it, and During reports that it was. Both are over when
// During returns.
func During(slow time.Duration, call, say func()) (said bool) {
	done := make(chan struct{})
	timer := time.AfterFunc(slow, func() {
		defer close(done)
		say()
	})
	call()
	if timer.Stop() {
		return false
	}
	<-done
	return true
}

// Settle gives conditions the times at which they changed from those that the cluster has, which may have been written since the
// conditions were set.
func Settle(list, cluster []metav1.Condition) {
	for i := range list {
		has := meta.FindStatusCondition(cluster, list[i].Type)
		switch {
		case has == nil:
		case has.Status == list[i].Status:
			list[i].LastTransitionTime = has.LastTransitionTime
		case !list[i].LastTransitionTime.After(has.LastTransitionTime.Time):
			list[i].LastTransitionTime = metav1.Now()
		}
	}
}
