package controllers_test

import (
	"context"
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// After a step that lets the next one run, that one's condition changes only if it fails too, and its error counts.
func TestContinueRunsTheNextStepOnly(t *testing.T) {
	t.Parallel()
	noSink, noAnswer := controllers.Waiting("SinkNotFound", 1, errors.New("no sink")), errors.New("no answer")
	for name, test := range map[string]struct {
		continues bool
		next      error
		want      error
		ran       int
		status    metav1.ConditionStatus // of the next step's condition
		reason    string
	}{
		"without Continue":    {continues: false, next: nil, want: noSink, ran: 1, status: metav1.ConditionUnknown, reason: "Progressing"},
		"next step succeeds":  {continues: true, next: nil, want: noSink, ran: 2, status: metav1.ConditionUnknown, reason: "Progressing"},
		"next step fails too": {continues: true, next: noAnswer, want: noAnswer, ran: 2, status: metav1.ConditionFalse, reason: "Retrying"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var list []metav1.Condition
			ran := 0
			returns := func(err error) func(context.Context, *int) error {
				return func(_ context.Context, ran *int) error { *ran++; return err }
			}
			err := controllers.Run(t.Context(), &ran, &controllers.Conditions{List: &list},
				controllers.Step[*int]{Condition: "First", Run: returns(noSink), Continue: test.continues},
				controllers.Step[*int]{Condition: "Next", Run: returns(test.next)},
				controllers.Step[*int]{Condition: "Last", Run: returns(nil)})
			if !errors.Is(err, test.want) || ran != test.ran {
				t.Errorf("got error %v after %d steps, want %v after %d", err, ran, test.want, test.ran)
			}
			if first := meta.FindStatusCondition(list, "First"); first == nil || first.Status != metav1.ConditionFalse || first.Reason != "SinkNotFound" {
				t.Errorf("First is %+v", first)
			}
			if next := meta.FindStatusCondition(list, "Next"); next == nil || next.Status != test.status || next.Reason != test.reason {
				t.Errorf("Next is %+v", next)
			}
			if last := meta.FindStatusCondition(list, "Last"); last == nil || last.Status != metav1.ConditionUnknown {
				t.Errorf("Last is %+v", last)
			}
		})
	}
}

// A tolerated error sets its condition, and the steps after it run. The run ends with it, unless one of them fails too.
func TestToleratedErrorLetsAllStepsRun(t *testing.T) {
	t.Parallel()
	away, refused := controllers.Waiting("RouteNotServed", 1, errors.New("no receiver")), controllers.Stalled("Refused", errors.New("refused"))
	for name, test := range map[string]struct{ last, want error }{
		"the others succeed": {nil, away},
		"another one fails":  {refused, refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var list []metav1.Condition
			ran := 0
			returns := func(err error) func(context.Context, *int) error {
				return func(_ context.Context, ran *int) error { *ran++; return err }
			}
			conditions := &controllers.Conditions{List: &list}
			err := controllers.Run(t.Context(), &ran, conditions,
				controllers.Step[*int]{Condition: "First", Run: returns(controllers.Tolerated(away))},
				controllers.Step[*int]{Condition: "Next", Run: returns(nil)},
				controllers.Step[*int]{Condition: "Last", Run: returns(test.last)})
			if controllers.Reason(err) != controllers.Reason(test.want) || ran != 3 {
				t.Errorf("got error %v after %d steps, want %v", err, ran, test.want)
			}
			if first := meta.FindStatusCondition(list, "First"); first == nil || first.Status != metav1.ConditionFalse || first.Reason != "RouteNotServed" {
				t.Errorf("First is %+v", first)
			}
			if !meta.IsStatusConditionTrue(list, "Next") {
				t.Errorf("the conditions are %+v", list)
			}
			conditions.Summarise(err, "First", "Next", "Last")
			if ready := meta.FindStatusCondition(list, "Ready"); ready.Status != metav1.ConditionFalse || ready.Reason != controllers.Reason(test.want) {
				t.Errorf("Ready is %+v", ready)
			}
		})
	}
}

// While nobody knows, the condition and Ready are Unknown, and kstatus says that the object is in progress.
func TestPendingIsUnknown(t *testing.T) {
	t.Parallel()
	var list []metav1.Condition
	conditions := &controllers.Conditions{List: &list}
	err := controllers.Run(t.Context(), 0, conditions, controllers.Step[int]{Condition: "First", Run: func(context.Context, int) error {
		return controllers.Pending("Probing", 1, errors.New("no answer yet"))
	}})
	conditions.Summarise(err, "First")
	for _, name := range []string{"First", "Ready"} {
		if got := meta.FindStatusCondition(list, name); got == nil || got.Status != metav1.ConditionUnknown || got.Reason != "Probing" {
			t.Errorf("%s is %+v", name, got)
		}
	}
	if !meta.IsStatusConditionTrue(list, "Reconciling") || controllers.ShouldWarn(err, nil) {
		t.Errorf("the conditions are %+v", list)
	}
}
