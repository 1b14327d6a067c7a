package delivery

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// report records Events about what a status says now and did not say before.
func (w *Writer) report(next change, before, after []metav1.Condition) {
	written, t := *next.view.object, next.tracker // with the status as it is now, of which alerts have more than the text
	written.Status.Conditions = after
	if next.status != nil {
		written.Status.Delivery = next.status
	}
	object := &written
	was := meta.FindStatusCondition(before, v1alpha1.ConditionDelivered)
	wasFailing := was != nil && was.Status == metav1.ConditionFalse && isSinks(was.Reason)
	switch isFailing := next.delivered.status == metav1.ConditionFalse && isSinks(next.delivered.reason); {
	case isFailing && !wasFailing:
		w.notify(object, v1alpha1.ReasonSinkFailing, next.delivered.message)
		t.failing = next.view.now
	case wasFailing && next.delivered.status == metav1.ConditionTrue:
		w.notify(object, v1alpha1.ReasonSinkRecovered, fmt.Sprintf("The sink accepts events again; it had failed for %s or more, and %d events wait",
			next.view.now.Sub(was.LastTransitionTime.Time).Round(time.Second), next.view.sum.Waiting))
	}
	if t.losses > 0 {
		w.notify(object, v1alpha1.ReasonMessagesLost, fmt.Sprintf("%d stored batches vanished from a receiver's buffer, and their events are lost: "+
			"look at the volume, and at the receiver's log and /readyz", t.losses))
	}
	was = meta.FindStatusCondition(before, v1alpha1.ConditionReceiving)
	switch decided := next.receiving; {
	case decided.status == metav1.ConditionFalse && (was == nil || was.Reason != decided.reason):
		w.notify(object, decided.reason, decided.message)
	case decided.status == metav1.ConditionTrue && was != nil && was.Status == metav1.ConditionFalse:
		w.notify(object, v1alpha1.ReasonEventsResumed, "Events arrive again")
	}
	was = meta.FindStatusCondition(before, v1alpha1.ConditionAlertSinkReady)
	if decided := next.alerts; decided.status == metav1.ConditionFalse && (was == nil || was.Reason != decided.reason) {
		w.notify(object, decided.reason, decided.message)
	}
}

// alerts says whether the alert sink of an object is ready.
func (w *Writer) alerts(object *v1alpha1.MandrillWebhook) (decided verdict) {
	if w.options.Alerts != nil && object.Spec.AlertSink != nil {
		decided.status, decided.reason, decided.message = w.options.Alerts.Condition(object)
	}
	if decided.status == "" {
		return keep
	}
	return decided
}

// remind records Events about what lasts, and about dead letters, at most every [Timing.Reminder] for each object.
func (w *Writer) remind(v view, t *tracker) {
	if w.reminded >= remindersPerPass {
		return
	}
	object := v.object
	if was := v.before(v1alpha1.ConditionDelivered); was != nil && was.Status == metav1.ConditionFalse && isSinks(was.Reason) &&
		v.now.Sub(t.failing) >= v.timing.Reminder {
		t.failing = v.now
		w.reminded++
		w.notify(object, v1alpha1.ReasonSinkFailing, was.Message)
	}
	if t.dead > 0 && v.now.Sub(t.deadEvent) >= v.timing.Reminder {
		w.reminded++
		w.notify(object, v1alpha1.ReasonDeadLettered, fmt.Sprintf("%s: look at them with receiver dead-letters list --webhook %s/%s, repair the sink, "+
			"and redrive them", givenUp(t.dead, v.sum.DeadLetters), object.Namespace, object.Name))
		t.deadEvent, t.dead = v.now, 0
	}
}

func givenUp(count, held int64) string {
	if count == 1 {
		return fmt.Sprintf("1 event was given up and became a dead letter, one of %d now", held)
	}
	return fmt.Sprintf("%d events were given up and became dead letters, of which there are %d now", count, held)
}

// normals are the reasons of Events that are no warnings.
var normals = map[string]bool{v1alpha1.ReasonSinkRecovered: true, v1alpha1.ReasonEventsResumed: true}

// notify records an Event.
func (w *Writer) notify(object *v1alpha1.MandrillWebhook, reason, message string) {
	kind := corev1.EventTypeWarning
	if normals[reason] {
		kind = corev1.EventTypeNormal
	}
	w.options.Recorder.Eventf(object, nil, kind, reason, "Deliver", "%s", controllers.Truncate(message))
}
