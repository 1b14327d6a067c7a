package registration

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// alwaysAccepted are the wire names that the API has always accepted.
var alwaysAccepted = []string{"send", "hard_bounce", "soft_bounce", "open", "click", "spam", "unsub", "reject"}

// sometimesRefused are documented wire names that the API has refused at some time, the most likely to be refused last.
var sometimesRefused = []string{"blacklist", "whitelist", "delivered", "deferral"}

// RefusedEvents returns the events for which Mandrill refused a webhook: those that its message names or, if it names
// none, those that are the most likely to be refused.
func RefusedEvents(err error, events []string) []string {
	if !errors.Is(err, mandrill.ErrValidation) || !strings.Contains(err.Error(), `"events`) {
		return nil
	}
	isNamed := func(event string) bool {
		return regexp.MustCompile(`\b` + regexp.QuoteMeta(event) + `\b`).MatchString(err.Error())
	}
	var candidates, named, unknown []string
	anyNamed := false
	for _, event := range events {
		anyNamed = anyNamed || isNamed(event)
		if slices.Contains(alwaysAccepted, event) {
			continue
		}
		candidates = append(candidates, event)
		if isNamed(event) {
			named = append(named, event)
		}
		if !slices.Contains(sometimesRefused, event) {
			unknown = append(unknown, event)
		}
	}
	switch {
	case len(named) > 0:
		return named
	case anyNamed || len(candidates) == 0: // it refused one that it has always accepted
		return nil
	case len(unknown) > 0:
		return unknown
	}
	return []string{slices.MaxFunc(candidates, func(a, b string) int {
		return slices.Index(sometimesRefused, a) - slices.Index(sometimesRefused, b)
	})}
}

// Without returns the events that are not among others.
func Without(events, others []string) []string {
	return slices.DeleteFunc(slices.Clone(events), func(event string) bool { return slices.Contains(others, event) })
}

// AlreadyTried reports whether Mandrill's events are those that it accepted for this generation before: asking again
// would change nothing. Events of the spec that somebody has ticked at Mandrill since then do not count as a difference.
func AlreadyTried(want []string, have mandrill.Webhook, webhook *v1alpha1.MandrillWebhook) bool {
	accepted := meta.FindStatusCondition(webhook.Status.Conditions, v1alpha1.ConditionEventsAccepted)
	if accepted == nil || accepted.ObservedGeneration != webhook.Generation || accepted.Reason == v1alpha1.ReasonSucceeded {
		return false
	}
	now, before := CurrentNames(have.Events), webhook.Status.Events
	return len(Without(before, now)) == 0 && len(Without(Without(now, before), CurrentNames(want))) == 0
}

// CurrentNames are the names that the spec uses for wire names.
func CurrentNames(wire []string) []string {
	var names []string
	for _, event := range wire {
		names = append(names, mandrill.CurrentName(event))
	}
	return names
}
