// Package registration has what is known about the webhook of an object at Mandrill: which webhook of an account is the object's,
// what differs from the spec, which calls of webhooks/add have an unknown outcome, what Mandrill made of the last write, and how
// many more writes there may be. It makes no calls.
package registration

import (
	"slices"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// What may differ between a webhook and its spec.
const (
	CauseURL         = "url"
	CauseDescription = "description"
	CauseEvents      = "events"
)

// Diff returns what differs between the webhook that is wanted and the one that Mandrill has.
func Diff(want mandrill.WebhookSpec, have mandrill.Webhook) []string {
	var differences []string
	if want.URL != have.URL {
		differences = append(differences, CauseURL)
	}
	if want.Description != have.Description {
		differences = append(differences, CauseDescription)
	}
	if !sameSet(want.Events, have.Events) {
		differences = append(differences, CauseEvents)
	}
	return differences
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

// Text returns a webhook as a text that is equal for equal ones.
func Text(spec mandrill.WebhookSpec) string {
	events := slices.Sorted(slices.Values(spec.Events))
	return strings.Join([]string{spec.URL, spec.Description, strings.Join(slices.Compact(events), ",")}, "\n")
}
