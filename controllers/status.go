package controllers

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// maxMessage keeps error texts of Mandrill readable in a condition, and is what the API allows for a Kubernetes Event.
const maxMessage = 1024

// Conditions are the conditions of an object. Those that are set get the generation that they are about.
type Conditions struct {
	List       *[]metav1.Condition
	Generation int64
}

// inOrder are the messages of conditions about which there is nothing more to say: what holds, in one sentence.
var inOrder = map[string]string{
	v1alpha1.ConditionReady:            "The webhook is registered, and the receiver accepts its batches",
	v1alpha1.ConditionSinkProvided:     "The sink has an address",
	v1alpha1.ConditionReceiverReady:    "The receiver answers at the URL",
	v1alpha1.ConditionRegistered:       "Mandrill has the webhook as the spec says",
	v1alpha1.ConditionSigningKeyStored: "The Secret and the receiver have the key that Mandrill signs with",
	v1alpha1.ConditionInboundReady:     "Mandrill has the inbound routes, and the MX records lead to it",
	v1alpha1.ConditionEventsAccepted:   "Mandrill accepted all events of the spec",
	v1alpha1.ConditionDelivering:       "Mandrill reports no failed delivery",
	v1alpha1.ConditionURLExclusive:     "Nothing else posts to the URL or claims it",
}

// Set sets a condition; its transition time changes only with its status. Without a message, it gets the one of a condition that
// is in order.
func (c *Conditions) Set(name string, status metav1.ConditionStatus, reason, message string) {
	message = Truncate(message)
	if message == "" && status == metav1.ConditionTrue {
		message = inOrder[name]
	}
	meta.SetStatusCondition(c.List, metav1.Condition{
		Type: name, Status: status, Reason: reason, Message: message, ObservedGeneration: c.Generation,
	})
}

// Truncate shortens a message to what a condition or an Event can show.
func Truncate(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessage-3], "") + "..."
}

func (c *Conditions) fail(name string, err error) {
	_, reason := classify(err)
	c.Set(name, status(err), reason, err.Error())
}

func (c *Conditions) initialise(name string) {
	if meta.FindStatusCondition(*c.List, name) == nil {
		c.Set(name, metav1.ConditionUnknown, v1alpha1.ReasonProgressing, "Another condition comes first")
	}
}

// Summarise sets Ready from the conditions it depends on, in order, and kstatus's Reconciling and Stalled from
// the error of the run.
func (c *Conditions) Summarise(err error, dependencies ...string) {
	for i, condition := range *c.List { // of an earlier version, which wrote no messages
		if condition.Message == "" && condition.Status == metav1.ConditionTrue {
			(*c.List)[i].Message = inOrder[condition.Type]
		}
	}
	ready, reason, message := metav1.ConditionTrue, v1alpha1.ReasonSucceeded, ""
	for _, name := range dependencies {
		dependency := meta.FindStatusCondition(*c.List, name)
		if dependency == nil {
			continue
		}
		if dependency.Reason != v1alpha1.ReasonSucceeded {
			ready, reason, message = dependency.Status, dependency.Reason, dependency.Message
		}
		if dependency.Status != metav1.ConditionTrue {
			break
		}
	}
	if isUnchecked(err) {
		err = nil
	}
	class := transient
	if err != nil { // it counts more than conditions of earlier runs
		class, reason = classify(err)
		ready, message = status(err), err.Error()
	}
	c.Set(v1alpha1.ConditionReady, ready, reason, message)
	for name, applies := range map[string]bool{
		v1alpha1.ConditionStalled:     err != nil && class == stalled,
		v1alpha1.ConditionReconciling: err != nil && class != stalled,
	} {
		if applies {
			c.Set(name, metav1.ConditionTrue, reason, message)
		} else {
			meta.RemoveStatusCondition(c.List, name)
		}
	}
}

// ShouldWarn reports whether a run ends with a Warning Event: not while it waits for a dependency, and not if the
// condition Ready said the same before.
func ShouldWarn(err error, before []metav1.Condition) bool {
	if err == nil {
		return false
	}
	class, reason := classify(err)
	if class == waiting || class == unchecked {
		return false
	}
	ready := meta.FindStatusCondition(before, v1alpha1.ConditionReady)
	return ready == nil || ready.Reason != reason || ready.Message != Truncate(err.Error())
}

// Reason returns the reason of a run's outcome, as conditions and metrics have it.
func Reason(err error) string {
	if err == nil {
		return v1alpha1.ReasonSucceeded
	}
	_, reason := classify(err)
	return reason
}
