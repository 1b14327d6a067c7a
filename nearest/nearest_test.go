package nearest_test

import (
	"testing"

	"github.com/mandrill-operator/mandrill-operator/nearest"
)

func TestName(t *testing.T) {
	t.Parallel()
	names := []string{"check", "dead-letters", "backlog"}
	for typed, want := range map[string]string{
		"chekc": "check", "dead-leters": "dead-letters", "deadletters": "dead-letters", "BACKLOG": "backlog", "backlogs": "backlog", "x": "", "nonsense": "", "": "",
	} {
		if got := nearest.Name(typed, names); got != want {
			t.Errorf("%q: got %q, want %q", typed, got, want)
		}
	}
	if got := nearest.DidYouMean("chek", names); got != ": did you mean check?" {
		t.Errorf("got %q", got)
	}
}
