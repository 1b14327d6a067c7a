// Package view shows webhooks as the operator, Mandrill and the receivers see them: status, explain, pause and resume.
package view

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/cli/reasons"
)

// Summary is what status says of a webhook.
type Summary struct {
	Namespace   string       `json:"namespace"`
	Name        string       `json:"name"`
	Ready       string       `json:"ready"`                 // ok, or the reason
	Mandrill    string       `json:"mandrill"`              // Mandrill's view of its deliveries: ok, or the reason
	URL         string       `json:"url"`                   // whether nothing else has the URL: ok, or the reason
	Sink        string       `json:"sink"`                  // ok, or the reason
	SinkAddress string       `json:"sinkAddress,omitempty"` // host and port
	Waiting     int64        `json:"waitingEvents"`
	OldestAt    *metav1.Time `json:"oldestWaitingAt,omitempty"`
	DeadLetters int64        `json:"deadLetters"`
	LastEventAt *metav1.Time `json:"lastEventAt,omitempty"`
	LastEventOf Source       `json:"lastEventFrom,omitempty"` // who says so
	Problems    []Problem    `json:"problems"`
}

// Source says where something is from.
type Source string

// The sources.
const (
	OfObject    Source = "object"    // as the operator has written it, some minutes ago
	OfReceivers Source = "receivers" // as they say now
)

// Problem is something that is not in order.
type Problem struct {
	Condition string `json:"condition,omitempty"`
	Reason    string `json:"reason"`
	Message   string `json:"message,omitempty"`
	Remedy    string `json:"remedy,omitempty"`
	Next      string `json:"next,omitempty"` // command to run next
}

// the order in which problems are named: what comes first often causes what follows.
var conditions = []string{
	v1alpha1.ConditionReady, v1alpha1.ConditionURLExclusive, v1alpha1.ConditionEventsAccepted, v1alpha1.ConditionDelivering,
	v1alpha1.ConditionReceiving, v1alpha1.ConditionDelivered, v1alpha1.ConditionAlertSinkReady,
}

// harmless are reasons of conditions that are not True without anything to do.
var harmless = []string{
	v1alpha1.ReasonNothingSentYet, v1alpha1.ReasonNothingSent, v1alpha1.ReasonNothingReceived, v1alpha1.ReasonEventsAdded,
}

// Summarize sums up a webhook.
func Summarize(webhook *v1alpha1.MandrillWebhook) Summary {
	s := Summary{
		Namespace: webhook.Namespace, Name: webhook.Name, Problems: []Problem{},
		Ready: word(webhook, v1alpha1.ConditionReady), Mandrill: word(webhook, v1alpha1.ConditionDelivering), Sink: word(webhook, v1alpha1.ConditionDelivered),
		URL: word(webhook, v1alpha1.ConditionURLExclusive), SinkAddress: access.SinkAddress(webhook),
	}
	if delivery := webhook.Status.Delivery; delivery != nil {
		s.Waiting, s.OldestAt = delivery.WaitingEvents, delivery.OldestWaitingAt
		s.DeadLetters, s.LastEventAt = delivery.DeadLetters, delivery.LastReceivedAt
		if s.LastEventAt != nil {
			s.LastEventOf = OfObject
		}
	}
	s.Problems = append(s.Problems, problems(webhook)...)
	return s
}

// word is ok, the reason of a condition, or - without it.
func word(webhook *v1alpha1.MandrillWebhook, name string) string {
	condition := meta.FindStatusCondition(webhook.Status.Conditions, name)
	switch {
	case condition == nil:
		return "-"
	case condition.Status == metav1.ConditionTrue:
		return "ok"
	}
	return condition.Reason
}

func problems(webhook *v1alpha1.MandrillWebhook) []Problem {
	if len(webhook.Status.Conditions) == 0 {
		return []Problem{{
			Reason: "NotHandled", Message: "No operator has handled the object.",
			Remedy: "Check that the operator runs, that it watches the namespace, and that spec.installation is its own.",
			Next:   "kubectl get pods -A -l app.kubernetes.io/component=operator",
		}}
	}
	var list []Problem
	if webhook.Generation != webhook.Status.ObservedGeneration {
		list = append(list, Problem{
			Reason: "NotObserved", Message: "The operator has not handled the last change of the object yet.",
			Remedy: "If it lasts, check that the operator runs.", Next: "kubectl get pods -A -l app.kubernetes.io/component=operator",
		})
	}
	suspended := false
	for _, name := range conditions {
		condition := meta.FindStatusCondition(webhook.Status.Conditions, name)
		if condition == nil || condition.Status == metav1.ConditionTrue || slices.Contains(harmless, condition.Reason) {
			continue
		}
		if condition.Reason == v1alpha1.ReasonSuspended {
			if suspended {
				continue // one cause, shown by several conditions
			}
			suspended = true
		}
		list = append(list, Problem{
			Condition: name, Reason: condition.Reason, Message: condition.Message, Remedy: reasons.Remedy(condition.Reason), Next: next(webhook, condition),
		})
	}
	return append(list, deliveryProblems(webhook, list)...)
}

// deliveryProblems are those that no condition names: dead letters stay after the sink works again.
func deliveryProblems(webhook *v1alpha1.MandrillWebhook, known []Problem) (list []Problem) {
	delivery := webhook.Status.Delivery
	if delivery == nil {
		return nil
	}
	inKnown := slices.ContainsFunc(known, func(p Problem) bool { return p.Condition == v1alpha1.ConditionDelivered })
	if delivery.DeadLetters > 0 && !inKnown {
		list = append(list, Problem{
			Reason: v1alpha1.ReasonDeadLettered, Message: output.Counted(int(delivery.DeadLetters), "event was", "events were") + " given up.",
			Remedy: "Look at the dead letters, and redrive or purge them.", Next: command(webhook, "dead-letters list --webhook "+webhook.Namespace+"/"+webhook.Name),
		})
	}
	if delivery.LostMessages > 0 {
		list = append(list, Problem{
			Reason: v1alpha1.ReasonMessagesLost, Message: output.Counted(int(delivery.LostMessages), "stored batch has", "stored batches have") + " vanished from a buffer.",
			Remedy: reasons.Remedy(v1alpha1.ReasonMessagesLost), Next: command(webhook, "support-bundle"),
		})
	}
	return list
}

// since is the age of a time, or - without one.
func since(now time.Time, at *metav1.Time) string {
	if at == nil {
		return "-"
	}
	return output.Age(now.Sub(at.Time))
}
