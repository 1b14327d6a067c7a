package delivery

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// arrivalGrace is what Mandrill's counters may be ahead of what arrives, besides the time between two lists of the account.
const arrivalGrace = 10 * time.Minute

// receiving decides what Receiving says, for an object that expects events.
func (v view) receiving() verdict {
	decided := v.decideReceiving()
	if !v.settled && decided.status != metav1.ConditionTrue {
		return keep
	}
	return decided
}

func (v view) decideReceiving() verdict {
	within, err := routes.ParseDuration(v.object.Spec.ExpectEvents.Within)
	switch {
	case err != nil: // the API server checks it
		return keep
	case v.object.Spec.Suspend:
		return verdict{metav1.ConditionUnknown, v1alpha1.ReasonSuspended, suspendedMessage}
	case v.sum.Live == 0:
		return v.unreported()
	}
	last := v.lastReceived()
	from := later(last, v.resumed)
	if last.IsZero() {
		from = later(from, v.quietSince())
	}
	if sent := v.sentInVain(from); !sent.IsZero() {
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonNotArriving, notArrivingMessage(v.object.Status.URL, sent, last)}
	}
	switch {
	case v.now.Sub(from) > within:
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonSilent, silentMessage(v.object.Spec.ExpectEvents.Within, last)}
	case last.IsZero():
		return verdict{metav1.ConditionUnknown, v1alpha1.ReasonNothingReceived,
			fmt.Sprintf("Nothing was received yet, and %s is not over: nothing to do", v.object.Spec.ExpectEvents.Within)}
	}
	return verdict{metav1.ConditionTrue, v1alpha1.ReasonSucceeded, fmt.Sprintf("Events were received within %s", v.object.Spec.ExpectEvents.Within)}
}

// lastReceived is when a receiver last accepted events, also one that has restarted since.
func (v view) lastReceived() time.Time {
	last := v.sum.Received
	if status := v.object.Status.Delivery; status != nil && status.LastReceivedAt != nil {
		last = later(last, status.LastReceivedAt.Time)
	}
	return last
}

// quietSince is from when silence counts if nothing was received yet: from the time that the object expects events.
func (v view) quietSince() time.Time {
	if before := v.before(v1alpha1.ConditionReceiving); before != nil {
		if before.Status == metav1.ConditionUnknown {
			return before.LastTransitionTime.Time
		}
		return v.object.CreationTimestamp.Time
	}
	return v.now
}

// sentInVain is when Mandrill last sent a batch, if none has arrived since long before. It is zero otherwise.
func (v view) sentInVain(from time.Time) time.Time {
	var sent time.Time
	if upstream := v.object.Status.Upstream; upstream != nil && upstream.LastSentAt != nil {
		sent = upstream.LastSentAt.Time
	}
	if v.now.Sub(sent) < v.grace || sent.Sub(from) < v.grace { // its events may be on their way, or it is that of the last ones
		sent = time.Time{}
	}
	rise := v.unaccounted
	if rise.After(from) && !isAccounted(rise, v.lastReceived(), v.grace) && v.now.Sub(rise) >= v.timing.silentAfter() {
		sent = later(sent, rise) // every receiver has reported since
	}
	return sent
}
