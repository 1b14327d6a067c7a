package upstream_test

import (
	"strings"
	"testing"

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
	fine, failed := &v1alpha1.Upstream{BatchesSent: 3}, &v1alpha1.Upstream{BatchesSent: 3, LastError: "HTTP 503"}
	upstream.Report(conditions, nil, &v1alpha1.Upstream{}, true, false)
	assert(metav1.ConditionUnknown, v1alpha1.ReasonNothingSentYet, "not sent anything yet")
	upstream.Report(conditions, nil, fine, true, false)
	assert(metav1.ConditionTrue, v1alpha1.ReasonDelivered, "no failed delivery")
	upstream.Report(conditions, fine, fine, false, true)
	assert(metav1.ConditionTrue, v1alpha1.ReasonDelivered, "")
	upstream.Report(conditions, fine, failed, true, true)
	assert(metav1.ConditionUnknown, v1alpha1.ReasonSuspended, "HTTP 503")
	upstream.Report(conditions, failed, failed, false, true)
	assert(metav1.ConditionUnknown, v1alpha1.ReasonSuspended, "HTTP 503")
	upstream.Report(conditions, failed, failed, false, false)
	assert(metav1.ConditionUnknown, v1alpha1.ReasonNothingSentYet, "since spec.suspend was set to false")
	upstream.Report(conditions, failed, &v1alpha1.Upstream{BatchesSent: 3, LastError: "HTTP 500"}, true, false)
	assert(metav1.ConditionFalse, v1alpha1.ReasonLastAttemptFailed, "HTTP 500")
	upstream.Report(conditions, failed, failed, false, true) // suspended because of that
	assert(metav1.ConditionUnknown, v1alpha1.ReasonSuspended, "")
	upstream.Report(conditions, failed, &v1alpha1.Upstream{BatchesSent: 4, LastError: "HTTP 500"}, true, false) // both since the last look
	assert(metav1.ConditionFalse, v1alpha1.ReasonLastAttemptFailed, "HTTP 500")
	upstream.Report(conditions, failed, &v1alpha1.Upstream{BatchesSent: 4, LastError: "HTTP 503"}, true, false)
	assert(metav1.ConditionTrue, v1alpha1.ReasonDelivered, "may be over: HTTP 503")
	if _, remedy := upstream.Disabled(true, "HTTP 503"); strings.Contains(remedy, "sink") || !strings.Contains(remedy, "spec.suspend") {
		t.Errorf("a disabled webhook that is suspended: %q", remedy)
	}
}
