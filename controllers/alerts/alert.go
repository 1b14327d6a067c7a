package alerts

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubeevents "k8s.io/client-go/tools/events"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/events"
)

// alert is a CloudEvent about an object.
type alert struct {
	object     types.NamespacedName
	uid        types.UID
	at         time.Time
	ceType, id string
	data       []byte
}

// builders make the data of an alert, by the reason of the Kubernetes Event.
var builders = map[string]struct {
	ceType string
	data   func(events.Alert, *v1alpha1.MandrillWebhook) any
}{
	v1alpha1.ReasonSinkFailing:     {events.TypeSinkFailing, sinkFailing},
	v1alpha1.ReasonSinkRecovered:   {events.TypeSinkRecovered, sinkRecovered},
	v1alpha1.ReasonDeadLettered:    {events.TypeDeadLettered, deadLettered},
	v1alpha1.ReasonWebhookDisabled: {events.TypeDisabled, disabled},
	v1alpha1.ReasonSilent:          {events.TypeSilent, silent},
	v1alpha1.ReasonNotArriving:     {events.TypeSilent, silent},
}

func sinkFailing(common events.Alert, object *v1alpha1.MandrillWebhook) any {
	data := &events.SinkFailing{Alert: common}
	if delivered := meta.FindStatusCondition(object.Status.Conditions, v1alpha1.ConditionDelivered); delivered != nil {
		data.Condition, data.Since = delivered.Reason, shown(&delivered.LastTransitionTime)
	}
	if status := object.Status.Delivery; status != nil {
		data.WaitingEvents, data.OldestWaitingAt = status.WaitingEvents, shown(status.OldestWaitingAt)
		if failure := status.LastFailure; failure != nil {
			data.LastFailure = &events.SinkFailure{Reason: failure.Reason, Status: int64(failure.Status), At: shown(&failure.At)}
		}
	}
	return data
}

func sinkRecovered(common events.Alert, object *v1alpha1.MandrillWebhook) any {
	data := &events.SinkRecovered{Alert: common}
	if status := object.Status.Delivery; status != nil {
		data.WaitingEvents = status.WaitingEvents
	}
	return data
}

func deadLettered(common events.Alert, object *v1alpha1.MandrillWebhook) any {
	data := &events.DeadLettered{Alert: common}
	if status := object.Status.Delivery; status != nil {
		data.DeadLetters = status.DeadLetters
	}
	return data
}

func disabled(common events.Alert, object *v1alpha1.MandrillWebhook) any {
	return &events.WebhookDisabled{Alert: common, WebhookID: object.Status.WebhookID}
}

func silent(common events.Alert, object *v1alpha1.MandrillWebhook) any {
	data := &events.WebhookSilent{Alert: common}
	if status := object.Status.Delivery; status != nil {
		data.LastReceivedAt = shown(status.LastReceivedAt)
	}
	return data
}

func shown(at *metav1.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}

// Raise sends an alert about an object, if it has an alert sink and the reason of a Kubernetes Event has an alert. It does not block.
func (a *Alerter) Raise(object *v1alpha1.MandrillWebhook, reason, message string) {
	builder, ok := builders[reason]
	if !ok || object.Spec.AlertSink == nil {
		return
	}
	common := events.Alert{Namespace: object.Namespace, Name: object.Name, Reason: reason, Message: message}
	data, err := json.Marshal(builder.data(common, object))
	if err != nil { // it has texts and numbers only
		return
	}
	now := a.options.Now()
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", object.UID, builder.ceType, now.UnixNano()))
	a.add(object, &alert{
		object: types.NamespacedName{Namespace: object.Namespace, Name: object.Name}, uid: object.UID, at: now,
		ceType: builder.ceType, id: hex.EncodeToString(sum[:16]), data: data,
	})
}

// Recorder returns a recorder that raises alerts besides recording Events.
func (a *Alerter) Recorder(next kubeevents.EventRecorder) kubeevents.EventRecorder {
	return recorder{next, a}
}

type recorder struct {
	next    kubeevents.EventRecorder
	alerter *Alerter
}

// Eventf implements [kubeevents.EventRecorder].
func (r recorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	r.next.Eventf(regarding, related, kind, reason, action, note, args...)
	if object, ok := regarding.(*v1alpha1.MandrillWebhook); ok {
		r.alerter.Raise(object, reason, fmt.Sprintf(note, args...))
	}
}
