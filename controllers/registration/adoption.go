package registration

import (
	"fmt"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// AdoptionMessage says that a webhook that somebody else made is taken over, and what it was, which the spec replaces.
func AdoptionMessage(was mandrill.Webhook, policy v1alpha1.DeletionPolicy) string {
	fate := "it is deleted with this object, unless deletionPolicy is Retain"
	if policy == v1alpha1.DeletionRetain {
		fate = "it stays when this object is deleted, as deletionPolicy says"
	}
	events := "no events"
	if len(was.Events) > 0 {
		events = "the events " + strings.Join(CurrentNames(was.Events), ", ")
	}
	return fmt.Sprintf("Took over webhook %d, which existed at this URL with %s and the description %q; %s", was.ID, events, was.Description, fate)
}

// AdoptionRefusal says why a webhook is not taken over, and what to do.
func AdoptionRefusal(was mandrill.Webhook) error {
	return fmt.Errorf("the account has webhook %d at this URL, which no object here made, and spec.adoptionPolicy is Refuse: "+
		"delete it in Mandrill, or write Adopt to take it over, with its events and description replaced by those of the spec", was.ID)
}
