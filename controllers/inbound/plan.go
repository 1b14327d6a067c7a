// Package inbound plans which inbound routes of an account to add, change and delete. It makes no calls.
package inbound

import (
	"maps"
	"slices"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Ownership says which inbound routes are an object's: those that post to one of its URLs, and those that it, and no
// other object, has recorded.
type Ownership struct {
	URLs     map[string]bool // the present one and earlier ones
	Recorded map[string]bool // ids of routes
}

// Has reports whether a route is the object's.
func (o Ownership) Has(route mandrill.InboundRoute) bool {
	return o.URLs[route.URL] || o.Recorded[route.ID]
}

// Change is one call of Mandrill's API.
type Change struct {
	Call                string // a name of the API's
	Domain, Pattern, ID string
}

// Plan returns the changes that lead from a view of the account to the wanted routes, which post to a URL. There is
// no change for a route whose pattern somebody else's route has.
func Plan(wanted []v1alpha1.InboundRoute, url string, own Ownership, view map[string]account.Domain) []Change {
	var changes []Change
	keep := map[string]bool{} // ids
	adding := map[string]bool{}
	for _, want := range wanted {
		domain := view[want.Domain]
		if !domain.Added && !adding[want.Domain] {
			adding[want.Domain] = true
			changes = append(changes, Change{Call: "inbound/add-domain", Domain: want.Domain})
		}
		var current, ours, theirs string
		for _, route := range domain.Routes {
			switch {
			case route.Pattern != want.Pattern:
			case route.URL == url:
				current = route.ID
			case own.Has(route):
				ours = route.ID
			default:
				theirs = route.ID
			}
		}
		switch {
		case current != "":
			keep[current] = true
		case ours != "":
			keep[ours] = true
			changes = append(changes, Change{"inbound/update-route", want.Domain, want.Pattern, ours})
		case theirs == "":
			changes = append(changes, Change{"inbound/add-route", want.Domain, want.Pattern, ""})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(view)) {
		for _, route := range view[name].Routes {
			if own.Has(route) && !keep[route.ID] {
				changes = append(changes, Change{"inbound/delete-route", name, route.Pattern, route.ID})
			}
		}
	}
	return changes
}
