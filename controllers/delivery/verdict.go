package delivery

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	form "github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// view is everything that an object's conditions are decided from.
type view struct {
	object *v1alpha1.MandrillWebhook
	sum    Summary
	timing Timing
	now    time.Time
	since  time.Time // when this operator first saw the object

	settled      bool      // all receivers have had time to report since the operator started
	deadLettered time.Time // when dead letters were last added
	unaccounted  time.Time // when Mandrill's counters last rose without events that arrived, see tracker.count
	resumed      time.Time // when spec.suspend was last seen
	grace        time.Duration
}

// verdict is what a condition is to say. Without a status it stays as it is.
type verdict struct {
	status          metav1.ConditionStatus
	reason, message string
}

var keep = verdict{}

// before returns what a condition says now, nil if it is absent.
func (v view) before(name string) *metav1.Condition {
	return meta.FindStatusCondition(v.object.Status.Conditions, name)
}

// delivered decides what Delivered says. After a start, nothing becomes worse before all receivers can have reported.
func (v view) delivered() verdict {
	decided := v.decideDelivered()
	if !v.settled && decided.status != metav1.ConditionTrue {
		return keep
	}
	return decided
}

func (v view) decideDelivered() verdict {
	failing := !v.sum.FailingSince.IsZero()
	switch {
	case v.object.Spec.Suspend:
		return verdict{metav1.ConditionUnknown, v1alpha1.ReasonSuspended, suspendedMessage}
	case v.sum.Live == 0:
		return v.unreported()
	case v.blockedBuffer() != form.BufferAvailable && v.lasts(v.sum.BufferSince):
		return bufferVerdict(v.sum.Buffer, v.sum.BufferSince)
	case failing && v.lasts(v.sum.FailingSince):
		return v.failure()
	case !v.deadLettered.IsZero() && v.now.Sub(v.deadLettered) < v.timing.Recent:
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonDeadLettering, deadLetteringMessage}
	case failing || v.sum.Doubtful:
		return v.asBefore()
	case !v.sum.Delivered.IsZero():
		return verdict{metav1.ConditionTrue, v1alpha1.ReasonSucceeded, deliveredMessage}
	}
	return v.asBefore()
}

// blockedBuffer returns the state of the buffers, if batches of the object need one.
func (v view) blockedBuffer() form.BufferState {
	if delivery := v.object.Spec.Delivery; delivery != nil && delivery.Mode == v1alpha1.ModeDirect {
		return form.BufferAvailable
	}
	return v.sum.Buffer
}

// lasts reports whether a failure has lasted long enough to be shown.
func (v view) lasts(since time.Time) bool {
	return !since.IsZero() && v.now.Sub(since) >= v.timing.Hysteresis
}

// unreported is for an object without a receiver that reports.
func (v view) unreported() verdict {
	if v.now.Sub(later(v.since, v.sum.LastReport)) < v.timing.silentAfter() {
		return keep
	}
	return verdict{metav1.ConditionUnknown, v1alpha1.ReasonNoReports, noReportsMessage}
}

func (v view) failure() verdict {
	reason := v1alpha1.ReasonSinkFailing
	switch {
	case v.sum.CircuitOpen:
		reason = v1alpha1.ReasonCircuitOpen
	case v.sum.Failure != nil && v.sum.Failure.reason == form.ReasonRefused:
		reason = v1alpha1.ReasonSinkRefusing
	}
	return verdict{metav1.ConditionFalse, reason, failingMessage(reason, v.sum.FailingSince, v.sum.Failure)}
}

// asBefore is for an object whose receivers know nothing new, such as after they restarted. What the object says counts then:
// about this generation, because another sink may work.
func (v view) asBefore() verdict {
	before, status := v.before(v1alpha1.ConditionDelivered), v.object.Status.Delivery
	succeeded := status != nil && status.LastDeliveredAt != nil && (status.LastFailure == nil || !status.LastDeliveredAt.Before(&status.LastFailure.At))
	switch {
	case before != nil && before.Status == metav1.ConditionTrue:
		return verdict{before.Status, before.Reason, before.Message}
	case before != nil && before.Status == metav1.ConditionFalse && isSinks(before.Reason) && before.ObservedGeneration == v.object.Generation:
		return keep
	case succeeded:
		return verdict{metav1.ConditionTrue, v1alpha1.ReasonSucceeded, deliveredMessage}
	}
	return verdict{metav1.ConditionUnknown, v1alpha1.ReasonNothingSent, nothingSentMessage}
}

// isSinks reports whether a reason of Delivered is about the sink.
func isSinks(reason string) bool {
	return reason == v1alpha1.ReasonSinkFailing || reason == v1alpha1.ReasonSinkRefusing || reason == v1alpha1.ReasonCircuitOpen
}
