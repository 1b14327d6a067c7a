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
		for _, fragment := range []string{"Also ", "the reason of", "As Sink", "a reason of"} {
			if strings.Contains(reason.Text, fragment) {
				t.Errorf("%s is for people at the keyboard, and has %q: %s", reason.Name, fragment, reason.Text)
			}
		}
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

// What a message says already is not said again, and what it does not say is.
func TestAdviceIsSaidOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ reason, message, want string }{
		{v1alpha1.ReasonSinkRefusing, "The sink has accepted nothing since 2026-11-29T01:13:06Z: it refuses the events with status 400; look at its log. " +
			"Its events become dead letters: redrive them when it accepts them", ""},
		{v1alpha1.ReasonSinkFailing, "The sink has accepted nothing since 2026-11-29T01:13:06Z: there is no connection; check that it runs, its port, and NetworkPolicies. " +
			"Events wait in the buffer, or at Mandrill in Direct mode, and are sent again", "Repair the sink, or name another in spec.sink."},
		{v1alpha1.ReasonInvalidAPIKey, `Mandrill does not accept the API key: put a valid one into the Secret "mandrill"`, ""},
		{v1alpha1.ReasonOtherWebhooks, "The account has other webhooks at this URL, so that events may arrive twice: delete 102 in Mandrill", ""},
		{v1alpha1.ReasonURLCheckFailed, "Mandrill asked the URL and did not get the answer 200: check DNS, ingress and certificate of https://h.example/p", ""},
		{v1alpha1.ReasonSinkNotFound, "", "Create it, or correct the reference."},
		{v1alpha1.ReasonNothingSent, "", "Nothing to do."},
		{"NoReasonOfThisName", "", ""},
	} {
		if got := reasons.Advice(test.reason, test.message); got != test.want {
			t.Errorf("%s: got %q, want %q", test.reason, got, test.want)
		}
	}
}
