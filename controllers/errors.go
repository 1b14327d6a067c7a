package controllers

import (
	"errors"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// class says what a failed step means for the object.
type class int

const (
	transient class = iota // may pass by itself
	waiting                // a dependency is not there yet
	stalled                // the user must change something
	unchecked              // the state could not be compared, and was in order before
)

// StepError says why a step did not succeed. Its text becomes a condition's message, so it must hold nothing secret.
type StepError struct {
	class     class
	reason    string
	after     time.Duration
	err       error
	unknown   bool // whether the condition is Unknown instead of False
	tolerated bool // whether the steps after it run
}

func (e *StepError) Error() string { return e.err.Error() }

// Reason returns the reason of the step's condition.
func (e *StepError) Reason() string { return e.reason }

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.err }

// Waiting means that a dependency is not there yet. The step runs again after the given time, or earlier if a watch
// sees the dependency.
func Waiting(reason string, after time.Duration, err error) error {
	return &StepError{class: waiting, reason: reason, after: after, err: err}
}

// Pending is Waiting for an answer that says whether a dependency is there. Until then the condition is Unknown.
func Pending(reason string, after time.Duration, err error) error {
	return &StepError{class: waiting, reason: reason, after: after, err: err, unknown: true}
}

// Tolerated makes the steps after one that failed run as if it had succeeded. Its error is that of the run, unless one of
// them fails too.
func Tolerated(err error) error {
	step := new(StepError)
	if !errors.As(err, &step) {
		return err
	}
	tolerated := *step
	tolerated.tolerated = true
	return &tolerated
}

func isTolerated(err error) bool {
	step := new(StepError)
	return errors.As(err, &step) && step.tolerated
}

// status is the status of the condition of a step that failed.
func status(err error) metav1.ConditionStatus {
	if step := new(StepError); errors.As(err, &step) && step.unknown {
		return metav1.ConditionUnknown
	}
	return metav1.ConditionFalse
}

// Stalled means that the user must change something. Until then the step is not tried again.
func Stalled(reason string, err error) error {
	return &StepError{class: stalled, reason: reason, err: err}
}

// StalledAt is Stalled for changes that no watch can see, because they are made outside the cluster: the step is tried
// again after a time.
func StalledAt(reason string, after time.Duration, err error) error {
	return &StepError{class: stalled, reason: reason, after: after, err: err}
}

// LookAgain makes a stalled step be tried again after a time if after is not zero: for what no watch can see.
func LookAgain(err error, after time.Duration) error {
	step := new(StepError)
	if after == 0 || !errors.As(err, &step) || step.class != stalled || step.after > 0 {
		return err
	}
	return &StepError{class: stalled, reason: step.reason, after: after, err: err}
}

// Transient means that something failed that may pass, with a reason of its own. Any other error that a step returns is
// transient too, with the reason Retrying.
func Transient(reason string, err error) error {
	return &StepError{class: transient, reason: reason, err: err}
}

// Unchecked means that an object that was in order could not be compared with Mandrill, because Mandrill did not answer. Its
// conditions stay as they are, and the step runs again after a back-off.
func Unchecked(err error) error {
	return &StepError{class: unchecked, reason: v1alpha1.ReasonRetrying, err: err}
}

// isUnchecked reports whether an error says nothing about the object.
func isUnchecked(err error) bool {
	step := new(StepError)
	return errors.As(err, &step) && step.class == unchecked
}

// classify returns the class and reason of any error.
func classify(err error) (class, string) {
	if step := new(StepError); errors.As(err, &step) {
		return step.class, step.reason
	}
	return transient, v1alpha1.ReasonRetrying
}

// Outcome is the outcome of a run as a metric label.
func Outcome(err error) string {
	if err == nil {
		return "succeeded"
	}
	class, _ := classify(err)
	return [...]string{transient: "retrying", waiting: "waiting", stalled: "stalled", unchecked: "retrying"}[class]
}

// Result translates the error of a run for controller-runtime: when to reconcile next.
func Result(err error) (ctrl.Result, error) {
	step := new(StepError)
	switch {
	case err == nil:
		return ctrl.Result{}, nil
	case !errors.As(err, &step):
		return ctrl.Result{}, err
	case step.class == waiting || step.after > 0:
		return ctrl.Result{RequeueAfter: step.after}, nil
	case step.class == stalled:
		return ctrl.Result{}, reconcile.TerminalError(err)
	}
	return ctrl.Result{}, err
}
