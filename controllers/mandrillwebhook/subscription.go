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

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Which events the API accepts differs between accounts and times, and Mandrill adds and drops names without notice.
// An event that it refuses must not keep the others from being registered.

// undoubted are the wire names that the API has always accepted.
var undoubted = []string{"send", "hard_bounce", "soft_bounce", "open", "click", "spam", "unsub", "reject"}

// lessDoubted are documented names that the API has refused at some time, the most doubtful last.
var lessDoubted = []string{"blacklist", "whitelist", "delivered", "deferral"}

// put adds a webhook, or updates the one with the given number, with as many of its events as Mandrill accepts.
func (r *Reconciler) put(ctx context.Context, run *state, id int64, want mandrill.WebhookSpec) (mandrill.Webhook, error) {
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
				errors.New("Mandrill took none of the events: name others in spec.events, or tick them in Mandrill's web interface")) //nolint:staticcheck // a name
		}
		refused := refusedEvents(err, want.Events)
		if len(refused) == 0 || len(refused) == len(want.Events) {
			return have, err
		}
		want.Events = without(want.Events, refused)
	}
}

// refusedEvents are the events for which Mandrill refused a webhook: those that its message names or, when it names
// none, the most doubtful ones.
func refusedEvents(err error, events []string) []string {
	if !errors.Is(err, mandrill.ErrValidation) || !strings.Contains(err.Error(), `"events`) {
		return nil
	}
	isNamed := func(event string) bool {
		return regexp.MustCompile(`\b` + regexp.QuoteMeta(event) + `\b`).MatchString(err.Error())
	}
	var doubtful, named, unknown []string
	anyNamed := false
	for _, event := range events {
		anyNamed = anyNamed || isNamed(event)
		if slices.Contains(undoubted, event) {
			continue
		}
		doubtful = append(doubtful, event)
		if isNamed(event) {
			named = append(named, event)
		}
		if !slices.Contains(lessDoubted, event) {
			unknown = append(unknown, event)
		}
	}
	switch {
	case len(named) > 0:
		return named
	case anyNamed || len(doubtful) == 0: // Mandrill means another
		return nil
	case len(unknown) > 0:
		return unknown
	}
	return []string{slices.MaxFunc(doubtful, func(a, b string) int {
		return slices.Index(lessDoubted, a) - slices.Index(lessDoubted, b)
	})}
}

// without returns the events that are not among others.
func without(events, others []string) []string {
	return slices.DeleteFunc(slices.Clone(events), func(event string) bool { return slices.Contains(others, event) })
}

// isSettled tells whether Mandrill has what it made of the same wish before, which it would make of it again. What
// somebody has ticked since then is welcome if it was wished for.
func isSettled(want []string, have mandrill.Webhook, webhook *v1alpha1.MandrillWebhook) bool {
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

// reportEvents tells the user which events Mandrill did not take, or took by itself.
func (r *Reconciler) reportEvents(run *state) {
	var want []string
	for _, event := range run.webhook.Spec.Events {
		want = append(want, string(event))
	}
	have := run.webhook.Status.Events
	conditions := &controllers.Conditions{List: &run.webhook.Status.Conditions, Generation: run.webhook.Generation}
	missing, added := without(want, have), without(have, want)
	switch {
	case len(missing) > 0:
		message := fmt.Sprintf("Mandrill does not accept %s; the other events are registered: take out of spec.events what is not needed, or tick it for webhook %d in Mandrill's web interface",
			strings.Join(missing, ", "), run.webhook.Status.WebhookID)
		if before := meta.FindStatusCondition(*conditions.List, v1alpha1.ConditionEventsAccepted); before == nil || before.Message != message {
			r.warn(run.webhook, v1alpha1.ReasonEventsRefused, message)
		}
		conditions.Set(v1alpha1.ConditionEventsAccepted, metav1.ConditionFalse, v1alpha1.ReasonEventsRefused, message)
	case len(added) > 0:
		conditions.Set(v1alpha1.ConditionEventsAccepted, metav1.ConditionTrue, v1alpha1.ReasonEventsAdded,
			"Mandrill sends more than was asked for: "+strings.Join(added, ", "))
	default:
		conditions.Set(v1alpha1.ConditionEventsAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	}
}
