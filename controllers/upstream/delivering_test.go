package upstream_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/upstream"
)

// Suspend makes batches fail: nobody is sent to the sink for that.
func TestSuspendIsNoFaultOfTheSink(t *testing.T) {
	t.Parallel()
	var list []metav1.Condition
	conditions := &controllers.Conditions{List: &list, Generation: 1}
	assert := func(status metav1.ConditionStatus, reason, text string) {
		t.Helper()
		if got := list[0]; got.Status != status || got.Reason != reason || !strings.Contains(got.Message, text) || got.Message == "" {
			t.Errorf("got %s %s %q, want %s %s with %q", got.Status, got.Reason, got.Message, status, reason, text)
		}
		if suspended := reason == v1alpha1.ReasonSuspended; suspended && strings.Contains(list[0].Message, "sink") {
			t.Errorf("the message is %q", list[0].Message)
		}
	}
	report := func(before, now *v1alpha1.Upstream, changed, suspended bool) {
		upstream.Report(conditions, upstream.Seen{Before: before, Now: now, Changed: changed, Suspended: suspended})
	}
	fine, failed := &v1alpha1.Upstream{BatchesSent: 3}, &v1alpha1.Upstream{BatchesSent: 3, LastError: "HTTP 503"}
	report(nil, &v1alpha1.Upstream{}, true, false)
	assert(metav1.ConditionUnknown, v1alpha1.ReasonNothingSentYet, "not sent anything yet")
	report(nil, fine, true, false)
	assert(metav1.ConditionTrue, v1alpha1.ReasonDelivered, "no failed delivery")
	report(fine, fine, false, true)
	assert(metav1.ConditionTrue, v1alpha1.ReasonDelivered, "")
	report(fine, failed, true, true)
	assert(metav1.ConditionUnknown, v1alpha1.ReasonSuspended, "HTTP 503")
	report(failed, failed, false, true)
	assert(metav1.ConditionUnknown, v1alpha1.ReasonSuspended, "HTTP 503")
	report(failed, failed, false, false)
	assert(metav1.ConditionUnknown, v1alpha1.ReasonNothingSentYet, "since spec.suspend was set to false")
	report(failed, &v1alpha1.Upstream{BatchesSent: 3, LastError: "HTTP 500"}, true, false)
	assert(metav1.ConditionFalse, v1alpha1.ReasonLastAttemptFailed, "HTTP 500")
	report(failed, failed, false, true) // suspended because of that
	assert(metav1.ConditionUnknown, v1alpha1.ReasonSuspended, "")
	report(failed, &v1alpha1.Upstream{BatchesSent: 4, LastError: "HTTP 500"}, true, false) // both since the last look
	assert(metav1.ConditionFalse, v1alpha1.ReasonLastAttemptFailed, "HTTP 500")
	report(failed, &v1alpha1.Upstream{BatchesSent: 4, LastError: "HTTP 503"}, true, false)
	assert(metav1.ConditionTrue, v1alpha1.ReasonDelivered, "may be over: HTTP 503")
	if _, remedy := upstream.Disabled(true, "HTTP 503"); strings.Contains(remedy, "sink") || !strings.Contains(remedy, "spec.suspend") {
		t.Errorf("a disabled webhook that is suspended: %q", remedy)
	}
}

// A webhook that is enabled again is not shown as disabled, but its error stays until a batch arrives.
func TestAWebhookThatIsEnabledAgainIsNotShownAsDisabled(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		now     v1alpha1.Upstream
		changed bool
		status  metav1.ConditionStatus
		reason  string
		text    string
	}{
		{v1alpha1.Upstream{BatchesSent: 3}, false, metav1.ConditionUnknown, v1alpha1.ReasonNothingSentYet, "is enabled again, and Mandrill has not sent anything since"},
		{v1alpha1.Upstream{BatchesSent: 3, LastError: "status 413"}, false, metav1.ConditionFalse, v1alpha1.ReasonLastAttemptFailed, "is enabled again. Mandrill's last error, which may be over: status 413 (413 comes"},
		{v1alpha1.Upstream{BatchesSent: 4}, true, metav1.ConditionTrue, v1alpha1.ReasonDelivered, "no failed delivery"},
	} {
		list := []metav1.Condition{{Type: v1alpha1.ConditionDelivering, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonDisabled}}
		before := &v1alpha1.Upstream{BatchesSent: 3}
		upstream.Report(&controllers.Conditions{List: &list, Generation: 1}, upstream.Seen{Before: before, Now: &test.now, Changed: test.changed, Reenabled: true})
		if got := list[0]; got.Status != test.status || got.Reason != test.reason || !strings.Contains(got.Message, test.text) {
			t.Errorf("got %s %s %q, want %s %s with %q", got.Status, got.Reason, got.Message, test.status, test.reason, test.text)
		}
	}
	at := time.Date(2026, 1, 1, 12, 4, 0, 0, time.UTC)
	if text := upstream.Reenabling(at, true, 5*time.Minute); text != "The operator enables it again at 2026-01-01T12:04:00Z; if somebody enables it earlier, that shows within 5m0s" {
		t.Error(text)
	}
}
