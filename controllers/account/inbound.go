package account

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// The calls that list inbound domains and routes.
const (
	domainsCall = "inbound/domains"
	routesCall  = "inbound/routes"
)

// Domain is an inbound domain of an account, or one that it does not have.
type Domain struct {
	Added   bool
	ValidMX bool
	Routes  []mandrill.InboundRoute
}

// inbound is the view of an account's inbound domains, with the routes of the domains that somebody asked for.
type inbound struct {
	domains map[string]mandrill.InboundDomain
	viewed  time.Time // when the list of domains was requested
	routes  map[string]routeView
	writes  int // so far
}

type routeView struct {
	list   []mandrill.InboundRoute
	viewed time.Time
}

// Inbound returns what the account has for domains, from lists requested at most maxAge ago.
func (a *Account) Inbound(ctx context.Context, maxAge time.Duration, names ...string) (map[string]Domain, error) {
	a.listingInbound.Lock()
	defer a.listingInbound.Unlock()
	domains, err := a.domains(ctx, maxAge)
	if err != nil {
		return nil, err
	}
	found := map[string]Domain{}
	for _, name := range names {
		domain, added := domains[name]
		if !added {
			found[name] = Domain{}
			continue
		}
		list, err := a.domainRoutes(ctx, maxAge, name)
		if errors.Is(err, mandrill.ErrUnknownInboundDomain) { // deleted since
			found[name] = Domain{}
			continue
		}
		if err != nil {
			return nil, err
		}
		found[name] = Domain{Added: true, ValidMX: domain.ValidMX, Routes: list}
	}
	return found, nil
}

// InboundDomains returns the names of all domains of the account.
func (a *Account) InboundDomains(ctx context.Context, maxAge time.Duration) ([]string, error) {
	a.listingInbound.Lock()
	defer a.listingInbound.Unlock()
	domains, err := a.domains(ctx, maxAge)
	return slices.Sorted(maps.Keys(domains)), err
}

// domains returns all domains. The caller holds listingInbound.
func (a *Account) domains(ctx context.Context, maxAge time.Duration) (map[string]mandrill.InboundDomain, error) {
	asked := a.pool.now()
	a.mu.Lock()
	view, viewed, writes := a.inbound.domains, a.inbound.viewed, a.inbound.writes
	tooSoon := a.domainLosses.tooSoon(asked)
	a.mu.Unlock()
	if !viewed.IsZero() && asked.Sub(viewed) <= maxAge {
		return view, nil
	}
	if tooSoon {
		return nil, errLost(domainsCall, nil)
	}
	list, err := a.api.InboundDomains(ctx)
	if err != nil {
		return nil, err
	}
	list, unreadable, err := readable(domainsCall, list, func(domain mandrill.InboundDomain) string { return domain.Domain })
	domains := make(map[string]mandrill.InboundDomain, len(list))
	for _, domain := range list {
		domains[strings.ToLower(domain.Domain)] = domain
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.logUnreadable(ctx, domainsCall, unreadable)
	if err != nil {
		return nil, err
	}
	if a.inbound.writes == writes && a.domainLosses.doubts(slices.Collect(maps.Keys(domains)), len(unreadable), asked) {
		a.listSoon()
		return nil, errLost(domainsCall, unreadable)
	}
	if a.inbound.writes == writes { // otherwise the list may lack what was written since
		a.inbound.domains, a.inbound.viewed = domains, asked
	}
	return domains, nil
}

// domainRoutes returns a domain's routes. The caller holds listingInbound.
func (a *Account) domainRoutes(ctx context.Context, maxAge time.Duration, name string) ([]mandrill.InboundRoute, error) {
	asked := a.pool.now()
	a.mu.Lock()
	view, known := a.inbound.routes[name]
	writes := a.inbound.writes
	tooSoon := a.routeLossesOf(name).tooSoon(asked)
	a.mu.Unlock()
	if known && asked.Sub(view.viewed) <= maxAge {
		return view.list, nil
	}
	if tooSoon {
		return nil, errLost(routesCall, nil)
	}
	list, err := a.api.InboundRoutes(ctx, name)
	if err != nil {
		return nil, err
	}
	list, unreadable, err := readable(routesCall, list, func(route mandrill.InboundRoute) string { return route.ID })
	a.mu.Lock()
	defer a.mu.Unlock()
	a.logUnreadable(ctx, routesCall+" of "+name, unreadable)
	if err != nil {
		return nil, err
	}
	if a.inbound.writes != writes { // the list may lack what was written since
		return list, nil
	}
	if a.routeLossesOf(name).doubts(routeIDs(list), len(unreadable), asked) {
		a.listSoon()
		return nil, errLost(routesCall, unreadable)
	}
	if a.inbound.routes == nil {
		a.inbound.routes = map[string]routeView{}
	}
	a.inbound.routes[name] = routeView{list, asked}
	return list, nil
}

func routeIDs(list []mandrill.InboundRoute) []string {
	ids := make([]string, 0, len(list))
	for _, route := range list {
		ids = append(ids, route.ID)
	}
	return ids
}

// routesOf returns what should be in the next list of a domain's routes. The caller holds mu.
func (a *Account) routeLossesOf(domain string) *losses {
	if a.routeLosses == nil {
		a.routeLosses = map[string]*losses{}
	}
	if a.routeLosses[domain] == nil {
		a.routeLosses[domain] = &losses{}
	}
	return a.routeLosses[domain]
}

// ExpectInbound makes lists doubtful that lack a route, or its domain, that an object has recorded.
func (a *Account) ExpectInbound(domain, id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.domainLosses.expect(domain)
	a.routeLossesOf(domain).expect(id)
}

// AddInboundDomain adds a domain.
func (a *Account) AddInboundDomain(ctx context.Context, name string) error {
	_, err := a.api.AddInboundDomain(context.WithoutCancel(ctx), name)
	return a.wroteInbound(err, func() {
		a.routeLossesOf(name).deletedAll() // a domain that was not there had no routes
		delete(a.domainLosses.gone, name)
		a.domainLosses.expect(name)
	})
}

// CheckInboundDomain reports whether a domain's MX record is right. It makes Mandrill look the record up, unless it has
// done so for any object within maxAge.
func (a *Account) CheckInboundDomain(ctx context.Context, name string, maxAge time.Duration) (bool, error) {
	a.listingInbound.Lock()
	defer a.listingInbound.Unlock()
	now := a.pool.now()
	a.mu.Lock()
	last, known := a.checked[name]
	a.mu.Unlock()
	if known && now.Sub(last.at) < maxAge {
		return last.valid, nil
	}
	domain, err := a.api.CheckInboundDomain(ctx, name)
	if err != nil {
		return false, a.wroteInbound(err, nil)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.checked == nil {
		a.checked = map[string]check{}
	}
	a.checked[name] = check{domain.ValidMX, now}
	if viewed, ok := a.inbound.domains[name]; ok {
		viewed.ValidMX = domain.ValidMX
		a.inbound.domains[name] = viewed
	}
	return domain.ValidMX, nil
}

// check is the result of a lookup of an MX record.
type check struct {
	valid bool
	at    time.Time
}

// ChangeInbound runs a change of inbound routes while no other change runs, so that the routes that it lists stay as they
// are.
func (a *Account) ChangeInbound(change func() error) error {
	a.changing.Lock()
	defer a.changing.Unlock()
	return change()
}

// AddInboundRoute adds a route.
func (a *Account) AddInboundRoute(ctx context.Context, domain, pattern, url string) error {
	route, err := a.api.AddInboundRoute(context.WithoutCancel(ctx), domain, pattern, url)
	return a.wroteInbound(err, func() {
		if route.ID != "" {
			a.routeLossesOf(domain).expect(route.ID)
		}
	})
}

// UpdateInboundRoute changes a route.
func (a *Account) UpdateInboundRoute(ctx context.Context, id, pattern, url string) error {
	_, err := a.api.UpdateInboundRoute(context.WithoutCancel(ctx), id, pattern, url)
	return a.wroteInbound(err, nil)
}

// DeleteInboundRoute deletes a route. Finding none is success.
func (a *Account) DeleteInboundRoute(ctx context.Context, id string) error {
	_, err := a.api.DeleteInboundRoute(context.WithoutCancel(ctx), id)
	if errors.Is(err, mandrill.ErrUnknownInboundRoute) {
		err = nil
	}
	return a.wroteInbound(err, func() {
		for _, routes := range a.routeLosses {
			routes.deleted(id)
		}
	})
}

// wroteInbound drops the view. Writes are rare, and after an error nobody knows whether Mandrill made the write. After a
// success it calls made, if that is not nil, with mu held.
func (a *Account) wroteInbound(err error, made func()) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil && made != nil {
		made()
	}
	a.inbound = inbound{writes: a.inbound.writes + 1}
	return err
}

// FollowInbound records what an object that follows the account has last seen of its inbound domains.
func (a *Account) FollowInbound(object types.NamespacedName, seen map[string]Domain) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if follower, ok := a.followers[object]; ok {
		follower.inbound = seen
		a.followers[object] = follower
	}
}

// followedDomains returns the names of the domains that objects follow.
func (a *Account) followedDomains() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	names := map[string]bool{}
	for _, follower := range a.followers {
		for name := range follower.inbound {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// sameInbound reports whether the domains that an object has seen are unchanged.
func sameInbound(seen, now map[string]Domain) bool {
	for name, domain := range seen {
		other := now[name]
		if domain.Added != other.Added || domain.ValidMX != other.ValidMX || !slices.Equal(domain.Routes, other.Routes) {
			return false
		}
	}
	return true
}
