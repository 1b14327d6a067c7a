// Package account keeps one view of each Mandrill account, shared by all objects that use its API key: an account is
// listed once per interval, however many objects use it.
package account

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// API is the part of Mandrill's API that an account uses.
type API interface {
	Webhooks(ctx context.Context) ([]mandrill.Webhook, error)
	Webhook(ctx context.Context, id int64) (mandrill.Webhook, error)
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

// errNoWebhook does not say whether Mandrill made the write: the next list does.
var errNoWebhook = errors.New("Mandrill accepted the webhook and did not return it") //nolint:staticcheck // a name

// errNotDeleted is temporary: the webhook is there, and is deleted again.
var errNotDeleted = &mandrill.TransportError{Call: "webhooks/delete", Err: errors.New("Mandrill accepted the deletion and did not make it")} //nolint:staticcheck // a name

// Account is the view of one account. Its writes keep the view current.
//
// Its locks are taken in this order, each before those after it:
//
//	changing        for a change of inbound routes, around the calls that list and write them
//	listingInbound  for a list of inbound domains and routes
//	mu              for fields only, never during a call of the API
//
// listing is for a list of webhooks and is taken before mu; it is never held together with changing or listingInbound.
// The mutexes of a Pool and of its accounts are never held at the same time.
type Account struct {
	api     API
	pool    *Pool
	keyHash [sha256.Size]byte // of the API key

	wake           chan struct{} // full if the next list is to come early
	listing        chan struct{} // full while a list is in flight: a mutex that a context can interrupt
	listingInbound sync.Mutex
	changing       sync.Mutex

	mu           sync.Mutex // guards what follows
	view         []mandrill.Webhook
	viewed       time.Time                // when the list that the view is from was requested; zero without a view
	listed       time.Time                // when the last successful list was requested
	tried        time.Time                // when the last list was requested
	attempts     int                      // lists that have ended
	failure      error                    // of the last list
	failures     int                      // lists in a row that failed and may succeed later
	pausedTo     time.Time                // the last failure is the answer until then
	unsure       int                      // writes that failed, and that Mandrill may have made anyway
	known        []int64                  // numbers of the webhooks in the last list that counted, and of those added since
	doubted      bool                     // the last list lacked most of known
	odd          []int64                  // numbers of the webhooks with fields that cannot be decoded, which were logged
	unreadable   map[string]unreadableLog // by list
	writes       []write                  // since the list in flight, or the last one, was requested
	inbound      inbound
	domainLosses losses             // of the list of inbound domains, by name
	routeLosses  map[string]*losses // of the lists of inbound routes, by domain
	checked      map[string]check   // of MX records, by domain
	followers    map[types.NamespacedName]follower
	polling      bool
	refused      bool // Mandrill refused the key in the last poll
}

// follower is what an object has last seen of its webhook and its inbound domains.
type follower struct {
	webhook mandrill.Webhook
	inbound map[string]Domain
	places  []string // where other webhooks concern the object too, see FollowOthers
	others  []int64  // numbers of those that did, sorted
}

// write is a change that was made through this account.
type write struct {
	at      time.Time
	webhook mandrill.Webhook
	deleted bool
}

// apply makes the change in a list and returns it.
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

// Writes are not cancelled when the operator stops: Mandrill makes them anyway, and the next operator must find them
// in its list.

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

// Delete deletes a webhook. Finding none is success. An answer without the deleted webhook says nothing, so Mandrill is asked
// whether it still has it.
func (a *Account) Delete(ctx context.Context, id int64) error {
	webhook, err := a.api.DeleteWebhook(context.WithoutCancel(ctx), id)
	switch {
	case errors.Is(err, mandrill.ErrUnknownWebhook):
		err = nil
	case err == nil && webhook.ID != id:
		var exists bool
		if _, exists, err = a.Webhook(context.WithoutCancel(ctx), id); exists {
			err = errNotDeleted
		}
	}
	return a.wrote(mandrill.Webhook{ID: id}, true, err)
}

// wrote applies a write to the view. After an error nobody knows whether Mandrill made it, so the view is dropped, unless Mandrill
// says that it did not like the arguments. Hundreds of objects may have arguments that it does not like, such as their URLs.
func (a *Account) wrote(webhook mandrill.Webhook, deleted bool, err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if errors.Is(err, mandrill.ErrValidation) {
		return err
	}
	if err != nil {
		a.view, a.viewed = nil, time.Time{}
		a.unsure++
		return err
	}
	change := write{a.pool.now(), webhook, deleted}
	a.writes = append(a.writes, change)
	a.view = change.apply(a.view)
	if deleted {
		a.known = slices.DeleteFunc(a.known, func(id int64) bool { return id == webhook.ID })
	} else if !slices.Contains(a.known, webhook.ID) {
		a.known = append(a.known, webhook.ID)
	}
	return nil
}

// fingerprintBytes make it unlikely that two keys have the same fingerprint, and tell nothing about a key.
const fingerprintBytes = 8

// Fingerprint returns a hash of the API key, which differs for each salt.
func (a *Account) Fingerprint(salt string) string {
	sum := sha256.Sum256(append([]byte(salt), a.keyHash[:]...))
	return hex.EncodeToString(sum[:fingerprintBytes])
}

// Lacks reports whether the account is known not to have a webhook.
func (a *Account) Lacks(id int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.viewed.IsZero() && !slices.ContainsFunc(a.view, func(webhook mandrill.Webhook) bool { return webhook.ID == id })
}

// Follow records what an object has last seen of its webhook. When a later list differs, the pool's Changed is called for
// the object.
func (a *Account) Follow(object types.NamespacedName, seen mandrill.Webhook) {
	a.pool.moveTo(object, a)
	a.mu.Lock()
	present := a.followers[object]
	present.webhook = seen
	a.followers[object] = present
	a.mu.Unlock()
	a.pool.ensurePolling(a)
}

// FollowOthers records where other webhooks concern an object that follows the account, and those of them that the object has seen.
// The first place is a URL, and the others are URLs as the status shows them. When a later list has other webhooks at these
// places, the pool's Changed is called for the object.
func (a *Account) FollowOthers(object types.NamespacedName, places []string, seen []mandrill.Webhook) {
	index := a.pool.index(seen)
	places = slices.Clone(places)
	for i := 1; i < len(places); i++ {
		places[i] = a.pool.options.Place(places[i])
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if present, ok := a.followers[object]; ok {
		present.places = places
		present.others = present.othersIn(index)
		a.followers[object] = present
	}
}

// Seen returns what an object has last seen of its webhook.
func (a *Account) Seen(object types.NamespacedName) mandrill.Webhook {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.followers[object].webhook
}

// poll lists the account and returns the objects that have not seen what it lists.
func (a *Account) poll(ctx context.Context) []types.NamespacedName {
	list, err := a.Webhooks(ctx, -1) // no view is that fresh
	domains, inboundErr := map[string]Domain{}, err
	if names := a.followedDomains(); err == nil && len(names) > 0 {
		domains, inboundErr = a.Inbound(ctx, -1, names...)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	refused := errors.Is(err, mandrill.ErrInvalidKey)
	all := refused != a.refused // the key was revoked, or is accepted again, which concerns every object
	a.refused = refused
	if err != nil && !all {
		return nil // wait for the next poll
	}
	index := a.pool.index(list) // each object looks up its own places, because there may be thousands of objects and of webhooks
	byID := make(map[int64]mandrill.Webhook, len(list))
	for _, webhook := range list {
		byID[webhook.ID] = webhook
	}
	var changed []types.NamespacedName
	for object, seen := range a.followers {
		now, ok := byID[seen.webhook.ID]
		if all || !ok || !same(seen.webhook, now) || !slices.Equal(seen.others, seen.othersIn(index)) ||
			inboundErr == nil && !sameInbound(seen.inbound, domains) {
			changed = append(changed, object)
		}
	}
	return changed
}

// index returns the numbers of webhooks by URL, and by place.
func (p *Pool) index(list []mandrill.Webhook) map[string][]int64 {
	index := make(map[string][]int64, len(list))
	for _, webhook := range list {
		index[webhook.URL] = append(index[webhook.URL], webhook.ID)
		if place := p.options.Place(webhook.URL); place != webhook.URL {
			index[place] = append(index[place], webhook.ID)
		}
	}
	return index
}

// othersIn returns the numbers of the webhooks in an index, except the object's own, that concern the object.
func (f follower) othersIn(index map[string][]int64) []int64 {
	var others []int64
	for _, place := range f.places {
		for _, id := range index[place] {
			if id != f.webhook.ID {
				others = append(others, id)
			}
		}
	}
	slices.Sort(others)
	return slices.Compact(others)
}

// same reports whether two views of a webhook are equal in what objects show and compare.
func same(a, b mandrill.Webhook) bool {
	return a.URL == b.URL && a.Description == b.Description && a.AuthKey == b.AuthKey && slices.Equal(a.Events, b.Events) &&
		a.BatchesSent == b.BatchesSent && a.EventsSent == b.EventsSent && a.LastError == b.LastError && a.LastSentAt.Equal(b.LastSentAt.Time)
}
