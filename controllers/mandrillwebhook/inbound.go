package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/inbound"
	"github.com/mandrill-operator/mandrill-operator/controllers/progress"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

const (
	// intentRetry gives the status time to arrive in the cache.
	intentRetry = 50 * time.Millisecond
	// mxRetry is how often Mandrill is asked to look up a wrong MX record again.
	mxRetry = 2 * time.Minute
)

// inbound makes Mandrill have exactly the inbound routes that the spec asks for. It is the last step, because their mail
// is signed with the key of the webhook at the same URL.
func (r *Reconciler) inbound(ctx context.Context, run *state) error {
	if meta.FindStatusCondition(run.webhook.Status.Conditions, v1alpha1.ConditionInboundReady) == nil {
		// Write the intent into the status first: after a crash the finalizer then looks for routes.
		return controllers.Waiting(v1alpha1.ReasonProgressing, intentRetry, errors.New("the inbound routes are about to be set up"))
	}
	view, err := r.inboundView(ctx, run, viewIntervals*r.Resync)
	if err != nil {
		return run.unlisted("listing inbound routes", err, v1alpha1.ConditionInboundReady)
	}
	own, err := r.ownRoutes(ctx, run, run.webhook.Status.WebhookID)
	if err != nil {
		return err
	}
	if len(inbound.Plan(run.inboundRoutes(), run.url, own, view)) > 0 {
		if view, err = r.repairInbound(ctx, run, own); err != nil {
			return err
		}
	}
	return r.reportInbound(ctx, run, view)
}

// repairInbound makes the changes that a recent view needs, while no other object changes inbound routes, and returns
// the view after them.
func (r *Reconciler) repairInbound(ctx context.Context, run *state, own inbound.Ownership) (view map[string]account.Domain, err error) {
	err = run.account.ChangeInbound(func() error {
		if view, err = r.inboundView(ctx, run, addMaxAge); err != nil {
			return run.unlisted("listing inbound routes", err, v1alpha1.ConditionInboundReady)
		}
		changes := inbound.Plan(run.inboundRoutes(), run.url, own, view)
		if len(changes) == 0 {
			return nil
		}
		if err := r.mayWrite(run); err != nil {
			return err
		}
		r.during(ctx, run, progress.Inbound, func() { err = r.changeInbound(ctx, run, run.account, changes) })
		if err != nil {
			return err
		}
		if wasTrue(run.webhook, v1alpha1.ConditionInboundReady) {
			r.Metrics.Repaired(causeInbound)
		}
		if view, err = r.inboundView(ctx, run, addMaxAge); err != nil {
			return run.refusal("listing inbound routes", err)
		}
		return nil
	})
	return view, err
}

// reportInbound writes the routes that Mandrill has into the status, and returns what is still missing.
func (r *Reconciler) reportInbound(ctx context.Context, run *state, view map[string]account.Domain) error {
	status, seen := &run.webhook.Status, map[string]account.Domain{}
	status.InboundRoutes = nil
	var conflict error
	var withoutMX []string
	for _, want := range run.inboundRoutes() {
		domain := view[want.Domain]
		seen[want.Domain] = domain
		if !domain.ValidMX && !slices.Contains(withoutMX, want.Domain) {
			withoutMX = append(withoutMX, want.Domain)
		}
		at := slices.IndexFunc(domain.Routes, func(route mandrill.InboundRoute) bool {
			return route.Pattern == want.Pattern && route.URL == run.url
		})
		if at < 0 {
			conflict = inbound.Missing(domain, want, refusedRetry)
			continue
		}
		status.InboundRoutes = append(status.InboundRoutes, v1alpha1.InboundRouteStatus{ID: domain.Routes[at].ID, Domain: want.Domain, Pattern: want.Pattern})
	}
	run.account.FollowInbound(run.key(), seen)
	if conflict != nil {
		return conflict
	}
	withoutMX, err := r.checkMX(ctx, run, withoutMX)
	if err != nil || len(withoutMX) == 0 {
		return err
	}
	return controllers.Waiting(v1alpha1.ReasonMXRecordMissing, mxRetry,
		fmt.Errorf("mail for %s does not go to Mandrill yet: set the MX record that Mandrill's page of inbound domains shows", strings.Join(withoutMX, ", ")))
}

// checkMX makes Mandrill look up wrong MX records again, and returns the domains whose record is still wrong.
func (r *Reconciler) checkMX(ctx context.Context, run *state, names []string) ([]string, error) {
	var missing []string
	for _, name := range names {
		valid, err := run.account.CheckInboundDomain(ctx, name, mxRetry)
		if err != nil {
			return nil, run.refusal("checking an inbound domain", err)
		}
		if !valid {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

func (s *state) inboundRoutes() []v1alpha1.InboundRoute {
	if s.webhook.Spec.Inbound == nil {
		return nil
	}
	return s.webhook.Spec.Inbound.Routes
}

// inboundView returns what the account has for the domains of the spec and of the status and, until the routes of this
// generation have been set up, for every other domain: a crash may have kept a route there out of the status.
func (r *Reconciler) inboundView(ctx context.Context, run *state, maxAge time.Duration) (map[string]account.Domain, error) {
	names := map[string]bool{}
	for _, route := range run.inboundRoutes() {
		names[route.Domain] = true
	}
	for _, route := range run.webhook.Status.InboundRoutes {
		names[route.Domain] = true
		run.account.ExpectInbound(route.Domain, route.ID)
	}
	if !inbound.IsSetUp(run.webhook) {
		all, err := run.account.InboundDomains(ctx, maxAge)
		if err != nil {
			return nil, err
		}
		for _, name := range all {
			names[name] = true
		}
	}
	return run.account.Inbound(ctx, maxAge, slices.Sorted(maps.Keys(names))...)
}

// ownRoutes finds out which inbound routes are the object's in an account where its webhook has the given id, 0 without a
// webhook. Routes that post to a URL that another object has now are not.
func (r *Reconciler) ownRoutes(ctx context.Context, run *state, id int64) (inbound.Ownership, error) {
	own := inbound.Ownership{URLs: map[string]bool{}, Recorded: map[string]bool{}}
	var list v1alpha1.MandrillWebhookList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return own, fmt.Errorf("listing MandrillWebhooks: %w", err)
	}
	for _, id := range run.accepted() {
		own.URLs[id.URL] = id.URL != ""
	}
	for _, route := range run.webhook.Status.InboundRoutes {
		own.Recorded[route.ID] = true
	}
	held := id != 0 && run.webhook.Status.URL == r.urls.Shown(run.webhook)
	for _, other := range list.Items {
		if other.UID == run.webhook.UID || !other.DeletionTimestamp.IsZero() {
			continue
		}
		for _, route := range other.Status.InboundRoutes {
			own.Recorded[route.ID] = false
		}
		theirs, err := r.urls.Of(&other)
		if err != nil {
			continue
		}
		for url := range own.URLs {
			same := url == theirs
			if ref := other.Spec.URLSecretRef; ref != nil {
				same = strings.HasPrefix(url, webhookurl.WithParameter(theirs, ref.Parameter, ""))
			}
			if same && (url != run.url || !held) {
				own.URLs[url] = false
			}
		}
	}
	return own, nil
}

// changeInbound makes changes in an account, with an Event for each.
func (r *Reconciler) changeInbound(ctx context.Context, run *state, in *account.Account, changes []inbound.Change) error {
	for _, change := range changes {
		var err error
		var done string
		switch change.Call {
		case "inbound/add-domain":
			err, done = in.AddInboundDomain(ctx, change.Domain), "Added the inbound domain "+change.Domain
		case "inbound/add-route":
			err, done = in.AddInboundRoute(ctx, change.Domain, change.Pattern, run.url), "Added the inbound route "+change.Pattern+" of "+change.Domain
		case "inbound/update-route":
			err, done = in.UpdateInboundRoute(ctx, change.ID, change.Pattern, run.url), "Updated the inbound route "+change.Pattern+" of "+change.Domain
		case "inbound/delete-route":
			err, done = in.DeleteInboundRoute(ctx, change.ID), "Deleted the inbound route "+change.Pattern+" of "+change.Domain
		}
		if err != nil {
			return run.refusal("changing inbound routes", err)
		}
		r.normal(run.webhook, v1alpha1.ReasonInboundChanged, done+" at Mandrill")
	}
	return nil
}

// removeInbound deletes the object's inbound routes in one account, if it may have any.
func (r *Reconciler) removeInbound(ctx context.Context, run *state, at registrationAt) error {
	if !inbound.MayExist(run.webhook) {
		return nil
	}
	own, err := r.ownRoutes(ctx, run, at.id)
	if err != nil {
		return err
	}
	view, err := r.allInbound(ctx, run, at)
	if err != nil {
		return err
	}
	return r.changeInbound(ctx, run, at.account, inbound.Plan(nil, run.url, own, view))
}

// allInbound returns what an account has for all its domains.
func (r *Reconciler) allInbound(ctx context.Context, run *state, at registrationAt) (map[string]account.Domain, error) {
	if at.id != 0 { // otherwise the status speaks of another account
		for _, route := range run.webhook.Status.InboundRoutes {
			at.account.ExpectInbound(route.Domain, route.ID)
		}
	}
	names, err := at.account.InboundDomains(ctx, addMaxAge)
	if err != nil {
		return nil, run.refusal("listing inbound domains", err)
	}
	view, err := at.account.Inbound(ctx, addMaxAge, names...)
	if err != nil {
		return nil, run.refusal("listing inbound routes", err)
	}
	return view, nil
}
