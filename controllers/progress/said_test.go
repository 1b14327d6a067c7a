package progress_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/progress"
)

func saying(reason string) *v1alpha1.MandrillWebhook {
	object := &v1alpha1.MandrillWebhook{ObjectMeta: metav1.ObjectMeta{UID: "uid"}}
	if reason != "" {
		object.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason}}
	}
	return object
}

// A status differs that says something else than this operator, which has said nothing of an object that it does not know.
func TestStatusOfAnotherOperatorDiffers(t *testing.T) {
	t.Parallel()
	var said progress.Said
	said.Set(saying(""))
	if said.Differs(saying("Retrying")) {
		t.Error("a status differs of which nothing was said")
	}
	said.Set(saying("Retrying"))
	for reason, want := range map[string]bool{"Retrying": false, "Registering": true, "": true} {
		if got := said.Differs(saying(reason)); got != want {
			t.Errorf("%q differs: %t", reason, got)
		}
	}
	said.Forget("uid")
	if said.Differs(saying("Registering")) {
		t.Error("a forgotten object differs")
	}
}
