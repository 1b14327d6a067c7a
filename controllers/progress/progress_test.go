package progress_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/progress"
)

// Nothing is said of a quick call. Of a slow one it is said beside the call, and both are over afterwards.
func TestOnlySlowCallsAreSaid(t *testing.T) {
	t.Parallel()
	called := false
	if progress.During(time.Hour, func() { called = true }, func() { t.Error("a quick call was said") }) || !called {
		t.Error("a quick call counts as said, or was not made")
	}
	said := make(chan struct{})
	if !progress.During(0, func() { <-said }, func() { close(said) }) {
		t.Error("a slow call does not count as said")
	}
}

func conditions(list ...metav1.Condition) *controllers.Conditions {
	return &controllers.Conditions{List: &list, Generation: 3}
}

// The condition and Ready are False, and nothing says that the user must change something.
func TestActivityIsInProgress(t *testing.T) {
	t.Parallel()
	got := conditions(metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue})
	progress.Registration(nil, 3).Set(got)
	for name, want := range map[string]metav1.ConditionStatus{"Registered": "False", "Ready": "False", "Reconciling": "True"} {
		condition := meta.FindStatusCondition(*got.List, name)
		if condition == nil || condition.Status != want || condition.Reason != v1alpha1.ReasonRegistering || condition.ObservedGeneration != 3 {
			t.Errorf("%s is %+v", name, condition)
		}
	}
	if meta.FindStatusCondition(*got.List, v1alpha1.ConditionStalled) != nil {
		t.Error("it is stalled")
	}
}

// A deletion that takes long has not failed yet.
func TestDeletionInProgressHasNotFailed(t *testing.T) {
	t.Parallel()
	got := conditions()
	progress.Deletion.Set(got)
	if ready := meta.FindStatusCondition(*got.List, v1alpha1.ConditionReady); ready == nil || ready.Reason != v1alpha1.ReasonDeleting || len(*got.List) != 1 {
		t.Errorf("got %+v", *got.List)
	}
}

// An attempt that takes two minutes does not hide why the one before it failed.
func TestRegistrationKeepsTheLastFailure(t *testing.T) {
	t.Parallel()
	failed := metav1.Condition{Type: v1alpha1.ConditionRegistered, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonURLCheckFailed, Message: "no answer", ObservedGeneration: 3}
	first := progress.Registration([]metav1.Condition{failed}, 3)
	if !strings.HasSuffix(first.Message, "the attempt before this one failed: no answer") {
		t.Error(first.Message)
	}
	interrupted := conditions()
	first.Set(interrupted)
	ofAnotherSpec := failed
	ofAnotherSpec.ObservedGeneration = 2
	for name, before := range map[string][]metav1.Condition{"interrupted": *interrupted.List, "another spec": {ofAnotherSpec}} {
		if got := progress.Registration(before, 3).Message; strings.Contains(got, "failed") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// The time of a transition is that of the change that the cluster has seen.
func TestTransitionsAreThoseOfTheCluster(t *testing.T) {
	t.Parallel()
	earlier, later := metav1.NewTime(time.Unix(1000, 0)), metav1.NewTime(time.Unix(2000, 0))
	list := []metav1.Condition{
		{Type: "Back", Status: metav1.ConditionTrue, LastTransitionTime: earlier},
		{Type: "Same", Status: metav1.ConditionTrue, LastTransitionTime: later},
		{Type: "New", Status: metav1.ConditionTrue, LastTransitionTime: later},
	}
	progress.Settle(list, []metav1.Condition{
		{Type: "Back", Status: metav1.ConditionFalse, LastTransitionTime: later},
		{Type: "Same", Status: metav1.ConditionTrue, LastTransitionTime: earlier},
	})
	if !list[0].LastTransitionTime.After(later.Time) || !list[1].LastTransitionTime.Equal(&earlier) || !list[2].LastTransitionTime.Equal(&later) {
		t.Errorf("got %+v", list)
	}
}
