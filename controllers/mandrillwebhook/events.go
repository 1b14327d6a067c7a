package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Which events the API accepts differs between accounts and times, and Mandrill adds and drops names without notice.
// A refused event must not keep the others from being registered.

// alwaysAccepted are the wire names that the API has always accepted.
var alwaysAccepted = []string{"send", "hard_bounce", "soft_bounce", "open", "click", "spam", "unsub", "reject"}

// sometimesRefused are documented wire names that the API has refused at some time, the most likely to be refused last.
var sometimesRefused = []string{"blacklist", "whitelist", "delivered", "deferral"}

// upsert updates the webhook with the given id, or adds one if that is 0, with as many of its events as Mandrill accepts.
func (r *Reconciler) upsert(ctx context.Context, run *state, id int64, want mandrill.WebhookSpec) (mandrill.Webhook, error) {
	for {
		var have mandrill.Webhook
		var err error
		if id == 0 {
			have, err = run.account.Add(ctx, want)
		} else {
			have, err = run.account.Update(ctx, id, want)
		}
		if err == nil && len(have.Events) == 0 {
			return have, controllers.StalledAt(v1alpha1.ReasonRefused, refusedRetry,
				errors.New("Mandrill took none of the events: name others in spec.events, or tick them in Mandrill's web interface"+didYouMean(want.Events)))
		}
		refused := refusedEvents(err, want.Events)
		if len(refused) == 0 || len(refused) == len(want.Events) {
			return have, err
		}
		want.Events = without(want.Events, refused)
	}
}

// refusedEvents returns the events for which Mandrill refused a webhook: those that its message names or, if it names
// none, those that are the most likely to be refused.
func refusedEvents(err error, events []string) []string {
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

// without returns the events that are not among others.
func without(events, others []string) []string {
	return slices.DeleteFunc(slices.Clone(events), func(event string) bool { return slices.Contains(others, event) })
}

// alreadyTried reports whether Mandrill's events are those that it accepted for this generation before: asking again
// would change nothing. Events of the spec that somebody has ticked at Mandrill since then do not count as a difference.
func alreadyTried(want []string, have mandrill.Webhook, webhook *v1alpha1.MandrillWebhook) bool {
	accepted := meta.FindStatusCondition(webhook.Status.Conditions, v1alpha1.ConditionEventsAccepted)
	if accepted == nil || accepted.ObservedGeneration != webhook.Generation || accepted.Reason == v1alpha1.ReasonSucceeded {
		return false
	}
	now, before := currentNames(have.Events), webhook.Status.Events
	return len(without(before, now)) == 0 && len(without(without(now, before), currentNames(want))) == 0
}

func currentNames(wire []string) []string {
	var names []string
	for _, event := range wire {
		names = append(names, mandrill.CurrentName(event))
	}
	return names
}

// reportEvents sets EventsAccepted: which events Mandrill did not accept, and which it added.
func (r *Reconciler) reportEvents(run *state) {
	var want []string
	for _, event := range run.webhook.Spec.Events {
		want = append(want, string(event))
	}
	have := run.webhook.Status.Events
	missing, added := without(want, have), without(have, want)
	switch {
	case len(missing) > 0:
		message := fmt.Sprintf("Mandrill does not accept %s; the other events are registered: take out of spec.events what is not needed, or tick it for webhook %d in Mandrill's web interface",
			strings.Join(missing, ", "), run.webhook.Status.WebhookID) + didYouMean(missing)
		if before := meta.FindStatusCondition(run.webhook.Status.Conditions, v1alpha1.ConditionEventsAccepted); before == nil || before.Message != message {
			r.warn(run.webhook, v1alpha1.ReasonEventsRefused, message)
		}
		run.conditions.Set(v1alpha1.ConditionEventsAccepted, metav1.ConditionFalse, v1alpha1.ReasonEventsRefused, message)
	case len(added) > 0:
		run.conditions.Set(v1alpha1.ConditionEventsAccepted, metav1.ConditionTrue, v1alpha1.ReasonEventsAdded,
			"Mandrill sends more than was asked for: "+strings.Join(added, ", "))
	default:
		run.conditions.Set(v1alpha1.ConditionEventsAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, strings.TrimPrefix(didYouMean(have), "; "))
	}
}

// didYouMean suggests names for events that are not known, nothing if none is alike.
func didYouMean(events []string) string {
	var text strings.Builder
	for _, event := range events {
		if known := eventtypes.Suggest(event); known != "" {
			fmt.Fprintf(&text, "; %s is not an event that is known: did you mean %s?", event, known)
		}
	}
	return text.String()
}
