package reasons_test

import (
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/reasons"
)

// Every condition and reason has a text, which comes from the comments of the API.
func TestEveryReasonIsExplained(t *testing.T) {
	t.Parallel()
	list, err := reasons.All()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 60 {
		t.Errorf("only %d reasons were found", len(list))
	}
	for _, reason := range list {
		if len(reason.Text) < len("Nothing to do.") || !strings.HasSuffix(reason.Text, ".") || strings.Contains(reason.Text, "Reason"+reason.Name) {
			t.Errorf("%s: %q", reason.Name, reason.Text)
		}
	}
	if text := reasons.Remedy(v1alpha1.ReasonSinkNotFound); !strings.Contains(text, "Create it, or correct the reference.") {
		t.Errorf("SinkNotFound: %q", text)
	}
}

// A mistyped reason leads to the one that was meant.
func TestFind(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"sinkfailing": "", "SinkFailling": "did you mean SinkFailing?", "URLConflit": "did you mean URLConflict?", "Nonsense-Of-Another-Kind": "explain without a name lists all",
	} {
		found, err := reasons.Find(typed)
		if want == "" && (err != nil || len(found) == 0) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, %v", typed, found, err)
		}
	}
	if found, err := reasons.Find("Delivered"); err != nil || len(found) != 2 {
		t.Errorf("a condition and a reason of one name: %v, %v", found, err)
	}
}
