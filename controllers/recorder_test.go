package controllers_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// actions records the actions of Events, by which client-go tells repetitions from other Events.
type actions []string

func (a *actions) Eventf(_, _ runtime.Object, _, _, action, note string, args ...any) {
	if note != "%s" || len(args) != 1 {
		panic("the text is a format")
	}
	*a = append(*a, action)
}

// Events of one reason with different texts are different ones, and those with the same text repetitions.
func TestEventsWithDifferentTextsAreDistinct(t *testing.T) {
	t.Parallel()
	var seen actions
	recorder := controllers.Distinct(&seen)
	for _, text := range []string{"100 % lost", "2 lost", "100 % lost"} {
		recorder.Eventf(nil, nil, "Warning", "MessagesLost", "Deliver", "%s", text)
	}
	if seen[0] == seen[1] || seen[0] != seen[2] {
		t.Errorf("the actions are %q", seen)
	}
}
