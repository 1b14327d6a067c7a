package progress

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// Inbound are changes of inbound domains and routes.
var Inbound = Activity{v1alpha1.ConditionInboundReady, v1alpha1.ReasonUpdating,
	"Mandrill has been asked to change inbound domains or routes, and has not answered yet"}

// Deletion is the deletion of an object.
var Deletion = Activity{"", v1alpha1.ReasonDeleting, "Mandrill has been asked to delete the webhook, and has not answered yet"}

// Registration is a call of webhooks/add, given the object's conditions before it.
func Registration(before []metav1.Condition, generation int64) Activity {
	message := "Mandrill has been asked to register the webhook, and has not answered yet: it asks the URL first, which takes up to two minutes"
	if last := lastFailure(before, generation); last != "" {
		message += "; the attempt before this one failed: " + last
	}
	return Activity{v1alpha1.ConditionRegistered, v1alpha1.ReasonRegistering, message}
}

// lastFailure returns why the last attempt for a generation failed, or nothing.
func lastFailure(list []metav1.Condition, generation int64) string {
	condition := meta.FindStatusCondition(list, v1alpha1.ConditionRegistered)
	if condition == nil || condition.Status != metav1.ConditionFalse || condition.ObservedGeneration != generation {
		return ""
	}
	switch condition.Reason {
	case v1alpha1.ReasonRegistering, v1alpha1.ReasonUpdating, v1alpha1.ReasonProgressing:
		return ""
	}
	return condition.Message
}

// Update is a call of webhooks/update.
func Update(id int64, differences []string) Activity {
	return Activity{v1alpha1.ConditionRegistered, v1alpha1.ReasonUpdating, fmt.Sprintf(
		"Mandrill has been asked to change webhook %d (%s), and has not answered yet: it asks the URL first, which takes up to two minutes", id, strings.Join(differences, ", "))}
}

// Removal is the deletion of a webhook that the object does not need any more.
func Removal(id int64, which string) Activity {
	return Activity{v1alpha1.ConditionRegistered, v1alpha1.ReasonUpdating,
		fmt.Sprintf("Mandrill has been asked to delete webhook %d, %s, and has not answered yet", id, which)}
}
