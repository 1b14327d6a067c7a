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

// listTimeout bounds a list: others wait for it, and not for Mandrill's slowest call.
const listTimeout = 30 * time.Second

// revokedMemory is how long a key that Mandrill has refused is not tried again: thousands of objects may use it.
const revokedMemory = 10 * time.Second

// errNoWebhook: the write may have been made all the same, which the next list tells.
var errNoWebhook = errors.New("Mandrill accepted the webhook and did not return it") //nolint:staticcheck // a name

// Account is the view of one account. Its writes keep the view current.
type Account struct {
	api  API
	pool *Pool

	wake           chan struct{} // has something in it when the next list is to come early
	listing        chan struct{} // full while somebody lists; others wait for the result
	listingInbound sync.Mutex    // the same of inbound domains
	changing       sync.Mutex    // one change of inbound routes at a time

	mu        sync.Mutex // guards what follows
	view      []mandrill.Webhook
	viewed    time.Time // when the list that made the view was asked for; zero without a view
	listed    time.Time // when there was a list last
	tried     time.Time // when one was asked for last, with or without success
	attempts  int       // lists that have ended
	failure   error     // of the last
	unsure    int       // writes of which it is not known whether they were made
	writes    []write   // since the list in flight, or the last, was asked for
	inbound   inbound
	checked   map[string]check // MX records, by domain
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
// written through this account since. Who waits for somebody else's list gets its result, also when it fails.
func (a *Account) Webhooks(ctx context.Context, maxAge time.Duration) ([]mandrill.Webhook, error) {
	if view, ok := a.fresh(maxAge); ok {
		return view, nil
	}
	a.mu.Lock()
	attempts := a.attempts
	a.mu.Unlock()
	select {
	case a.listing <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-a.listing }()
	if view, ok := a.fresh(maxAge); ok { // somebody else listed meanwhile
		return view, nil
	}
	a.mu.Lock()
	asked, unsure, failure := a.pool.now(), a.unsure, a.failure
	revoked := errors.Is(failure, mandrill.ErrInvalidKey) && asked.Sub(a.tried) < revokedMemory
	if failure != nil && (a.attempts > attempts || revoked) {
		a.mu.Unlock()
		return nil, failure
	}
	a.tried = asked
	a.mu.Unlock()
	bounded, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	list, err := a.api.Webhooks(bounded)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.attempts, a.failure = a.attempts+1, err
	if errors.Is(err, mandrill.ErrInvalidKey) {
		a.view, a.viewed = nil, time.Time{} // what was seen with the key says nothing any more
	}
	if err != nil {
		return nil, err
	}
	a.writes = slices.DeleteFunc(a.writes, func(w write) bool { return w.at.Before(asked) })
	for _, w := range a.writes { // the list may or may not have them
		list = w.apply(list)
	}
	if a.listed = asked; a.unsure == unsure { // otherwise it may not have what a failed write did after all
		a.view, a.viewed = list, asked
	}
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

// Writes go to their end when the operator is told to stop: Mandrill makes them all the same, and who comes next must
// find them.

// Add creates a webhook.
func (a *Account) Add(ctx context.Context, spec mandrill.WebhookSpec) (mandrill.Webhook, error) {
	webhook, err := a.api.AddWebhook(context.WithoutCancel(ctx), spec)
	if err == nil && webhook.ID == 0 {
		err = errNoWebhook
	}
	return webhook, a.wrote(webhook, false, err)
}

// Update changes a webhook.
func (a *Account) Update(ctx context.Context, id int64, spec mandrill.WebhookSpec) (mandrill.Webhook, error) {
	webhook, err := a.api.UpdateWebhook(context.WithoutCancel(ctx), id, spec)
	if err == nil && webhook.ID != id {
		err = errNoWebhook
	}
	return webhook, a.wrote(webhook, false, err)
}

// Delete deletes a webhook. That there is none is success.
func (a *Account) Delete(ctx context.Context, id int64) error {
	_, err := a.api.DeleteWebhook(context.WithoutCancel(ctx), id)
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
		a.unsure++
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

// Seen returns the webhook of an object as it has last seen it.
func (a *Account) Seen(object types.NamespacedName) mandrill.Webhook {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.followers[object].webhook
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
