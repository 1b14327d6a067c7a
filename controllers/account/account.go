// Package account keeps one view of each Mandrill account, shared by all objects that use its API key: however
// many there are, the account is listed once per interval.
package account

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// API is what is needed of Mandrill.
type API interface {
	Webhooks(ctx context.Context) ([]mandrill.Webhook, error)
	AddWebhook(ctx context.Context, spec mandrill.WebhookSpec) (mandrill.Webhook, error)
	UpdateWebhook(ctx context.Context, id int64, spec mandrill.WebhookSpec) (mandrill.Webhook, error)
	DeleteWebhook(ctx context.Context, id int64) (mandrill.Webhook, error)
	InboundDomains(ctx context.Context) ([]mandrill.InboundDomain, error)
	AddInboundDomain(ctx context.Context, domain string) (mandrill.InboundDomain, error)
	CheckInboundDomain(ctx context.Context, domain string) (mandrill.InboundDomain, error)
	InboundRoutes(ctx context.Context, domain string) ([]mandrill.InboundRoute, error)
	AddInboundRoute(ctx context.Context, domain, pattern, url string) (mandrill.InboundRoute, error)
	UpdateInboundRoute(ctx context.Context, id, pattern, url string) (mandrill.InboundRoute, error)
	DeleteInboundRoute(ctx context.Context, id string) (mandrill.InboundRoute, error)
}

// Account is the view of one account. Its writes keep the view current.
type Account struct {
	api  API
	pool *Pool

	wake           chan struct{} // has something in it when the next list is to come early
	listing        sync.Mutex    // one list at a time; others wait for its result
	listingInbound sync.Mutex    // the same of inbound domains

	mu        sync.Mutex // guards what follows
	view      []mandrill.Webhook
	viewed    time.Time // when the list that made the view was asked for; zero without a view
	listed    time.Time // when there was a list last
	writes    []write   // since the list in flight, or the last, was asked for
	inbound   inbound
	followers map[types.NamespacedName]follower
	polling   bool
	refused   bool // the last poll was refused for the key
}

// follower is how an object has last seen what is its.
type follower struct {
	webhook mandrill.Webhook
	inbound map[string]Domain
}

// write is a change that was made through this account.
type write struct {
	at      time.Time
	webhook mandrill.Webhook
	deleted bool
}

// Webhooks returns the account's webhooks as they were asked for at most maxAge ago, with all that has been
// written through this account since.
func (a *Account) Webhooks(ctx context.Context, maxAge time.Duration) ([]mandrill.Webhook, error) {
	if view, ok := a.fresh(maxAge); ok {
		return view, nil
	}
	a.listing.Lock()
	defer a.listing.Unlock()
	if view, ok := a.fresh(maxAge); ok { // somebody else listed meanwhile
		return view, nil
	}
	asked := a.pool.now()
	list, err := a.api.Webhooks(ctx)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writes = slices.DeleteFunc(a.writes, func(w write) bool { return w.at.Before(asked) })
	for _, w := range a.writes { // the list may or may not have them
		list = w.apply(list)
	}
	a.view, a.viewed, a.listed = list, asked, asked
	return slices.Clone(list), nil
}

func (a *Account) fresh(maxAge time.Duration) ([]mandrill.Webhook, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.viewed.IsZero() || a.pool.now().Sub(a.viewed) > maxAge {
		return nil, false
	}
	return slices.Clone(a.view), true
}

// apply returns the list with the change made.
func (w write) apply(list []mandrill.Webhook) []mandrill.Webhook {
	at := slices.IndexFunc(list, func(other mandrill.Webhook) bool { return other.ID == w.webhook.ID })
	switch {
	case w.deleted && at >= 0:
		return slices.Delete(list, at, at+1)
	case w.deleted:
		return list
	case at >= 0:
		list[at] = w.webhook
		return list
	}
	return append(list, w.webhook)
}

// Add creates a webhook.
func (a *Account) Add(ctx context.Context, spec mandrill.WebhookSpec) (mandrill.Webhook, error) {
	webhook, err := a.api.AddWebhook(ctx, spec)
	return webhook, a.wrote(webhook, false, err)
}

// Update changes a webhook.
func (a *Account) Update(ctx context.Context, id int64, spec mandrill.WebhookSpec) (mandrill.Webhook, error) {
	webhook, err := a.api.UpdateWebhook(ctx, id, spec)
	return webhook, a.wrote(webhook, false, err)
}

// Delete deletes a webhook. That there is none is success.
func (a *Account) Delete(ctx context.Context, id int64) error {
	_, err := a.api.DeleteWebhook(ctx, id)
	if errors.Is(err, mandrill.ErrUnknownWebhook) {
		err = nil
	}
	return a.wrote(mandrill.Webhook{ID: id}, true, err)
}

// wrote keeps the view current. After an error it is unknown whether the change was made: the view goes.
func (a *Account) wrote(webhook mandrill.Webhook, deleted bool, err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.view, a.viewed = nil, time.Time{}
		return err
	}
	change := write{a.pool.now(), webhook, deleted}
	a.writes = append(a.writes, change)
	a.view = change.apply(a.view)
	return nil
}

// Lacks tells whether the account is known not to have a webhook.
func (a *Account) Lacks(id int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.viewed.IsZero() && !slices.ContainsFunc(a.view, func(webhook mandrill.Webhook) bool { return webhook.ID == id })
}

// Follow says how an object has last seen its webhook. The object is told when the account's next list differs.
func (a *Account) Follow(object types.NamespacedName, seen mandrill.Webhook) {
	a.pool.moveTo(object, a)
	a.mu.Lock()
	a.followers[object] = follower{seen, a.followers[object].inbound}
	a.mu.Unlock()
	a.pool.ensurePolling(a)
}

// poll lists the account and returns the objects for which something is new.
func (a *Account) poll(ctx context.Context) []types.NamespacedName {
	list, err := a.Webhooks(ctx, -1) // no view is that fresh
	domains, inboundErr := map[string]Domain{}, err
	if names := a.followedDomains(); err == nil && len(names) > 0 {
		domains, inboundErr = a.Inbound(ctx, -1, names...)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	refused := errors.Is(err, mandrill.ErrInvalidKey)
	all := refused != a.refused // the key was revoked, or is accepted again: everybody's business
	a.refused = refused
	if err != nil && !all {
		return nil // the next poll is soon enough
	}
	byID := make(map[int64]mandrill.Webhook, len(list))
	for _, webhook := range list {
		byID[webhook.ID] = webhook
	}
	var changed []types.NamespacedName
	for object, seen := range a.followers {
		now, ok := byID[seen.webhook.ID]
		if all || !ok || !same(seen.webhook, now) || inboundErr == nil && !sameInbound(seen.inbound, domains) {
			changed = append(changed, object)
		}
	}
	return changed
}

// same tells whether two views of a webhook say the same.
func same(a, b mandrill.Webhook) bool {
	return a.URL == b.URL && a.Description == b.Description && a.AuthKey == b.AuthKey && slices.Equal(a.Events, b.Events) &&
		a.BatchesSent == b.BatchesSent && a.EventsSent == b.EventsSent && a.LastError == b.LastError && a.LastSentAt.Equal(b.LastSentAt.Time)
}
