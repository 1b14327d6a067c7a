package account

import (
	"context"
	"errors"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// listCall is the call that lists webhooks.
const listCall = "webhooks/list"

// listTimeout bounds a list, because other objects wait for it.
const listTimeout = 30 * time.Second

// revokedMemory is how long a key that Mandrill has refused is not tried again. Thousands of objects may use it.
const revokedMemory = 10 * time.Second

// After a second failure in a row an account is not listed for a while by any caller: hundreds of objects may use it, and each
// would try for itself. The pause doubles each time, and is at least what Mandrill asks for.
const (
	firstListPause = time.Second
	lastListPause  = time.Minute
	maxRetryAfter  = 5 * time.Minute
)

// minLost is how many webhooks a list must lack before it is doubted as a whole. Fewer are confirmed one by one.
const minLost = 3

// errLostMost is temporary, so that the list is requested again. The second list in a row counts.
var errLostMost = &mandrill.TransportError{Call: listCall, Err: errors.New("the list lacks most webhooks of the list before it, and is requested again")}

// Webhooks returns the account's webhooks from a list requested at most maxAge ago, with everything that was written
// through this account since. Callers that wait for a list in flight share its result, an error too.
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
	if view, ok := a.fresh(maxAge); ok { // the list in flight brought it
		return view, nil
	}
	return a.list(ctx, attempts)
}

// list requests a list, unless the failure of an earlier one still counts. Attempts are those before the caller waited.
func (a *Account) list(ctx context.Context, attempts int) ([]mandrill.Webhook, error) {
	a.mu.Lock()
	asked, unsure, failure := a.pool.now(), a.unsure, a.failure
	revoked := errors.Is(failure, mandrill.ErrInvalidKey) && asked.Sub(a.tried) < revokedMemory
	if failure != nil && (a.attempts > attempts || revoked || asked.Before(a.pausedTo)) {
		a.mu.Unlock()
		return nil, failure
	}
	a.tried = asked
	a.mu.Unlock()
	bounded, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	list, err := a.api.Webhooks(bounded)
	var unreadable []int
	if err == nil {
		list, unreadable, err = readable(listCall, list, func(webhook mandrill.Webhook) int64 { return webhook.ID })
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.attempts, a.failure = a.attempts+1, err
	if errors.Is(err, mandrill.ErrInvalidKey) {
		a.view, a.viewed = nil, time.Time{} // do not serve what the key no longer gives access to
	}
	a.pauseAfter(err)
	a.logUnreadable(ctx, listCall, unreadable)
	if err != nil {
		return nil, err
	}
	a.writes = slices.DeleteFunc(a.writes, func(w write) bool { return w.at.Before(asked) })
	for _, w := range a.writes { // the list may not have them yet
		list = w.apply(list)
	}
	if a.doubted = !a.doubted && a.lacksMost(list); a.doubted {
		a.failure, a.view, a.viewed = errLostMost, nil, time.Time{}
		a.listSoon()
		return nil, errLostMost
	}
	a.known = numbers(list)
	a.logOdd(ctx, list)
	if a.listed = asked; a.unsure == unsure { // otherwise it may lack what a failed write did all the same
		a.view, a.viewed = list, asked
	}
	return slices.Clone(list), nil
}

// pauseAfter counts the outcome of a list, and decides when the next may be requested.
func (a *Account) pauseAfter(err error) {
	if !mandrill.Temporary(err) {
		a.failures, a.pausedTo = 0, time.Time{}
		return
	}
	var pause time.Duration
	if a.failures++; a.failures > 1 {
		pause = min(firstListPause<<min(a.failures-2, 10), lastListPause)
	}
	if refused := new(mandrill.APIError); errors.As(err, &refused) {
		pause = max(pause, min(refused.RetryAfter, maxRetryAfter))
	}
	if a.pausedTo = (time.Time{}); pause > 0 {
		a.pausedTo = a.pool.now().Add(pause)
	}
}

// lacksMost reports whether a list lacks most of the webhooks that the account had. An empty answer in error must not make
// every object add its webhook a second time.
func (a *Account) lacksMost(list []mandrill.Webhook) bool {
	has := map[int64]bool{}
	for _, id := range numbers(list) {
		has[id] = true
	}
	lost := 0
	for _, id := range a.known {
		if !has[id] {
			lost++
		}
	}
	return lost >= minLost && 2*lost > len(a.known)
}

func numbers(list []mandrill.Webhook) []int64 {
	ids := make([]int64, 0, len(list))
	for _, webhook := range list {
		ids = append(ids, webhook.ID)
	}
	return ids
}

// logOdd logs each webhook with fields that cannot be decoded, once.
func (a *Account) logOdd(ctx context.Context, list []mandrill.Webhook) {
	var odd []int64
	for _, webhook := range list {
		if len(webhook.Unreadable) == 0 {
			continue
		}
		odd = append(odd, webhook.ID)
		if !slices.Contains(a.odd, webhook.ID) {
			log.FromContext(ctx).Info("Found a webhook with fields that cannot be decoded", "webhookID", webhook.ID, "fields", webhook.Unreadable)
		}
	}
	a.odd = odd
}

// listSoon brings the next list forward. It never blocks.
func (a *Account) listSoon() {
	select {
	case a.wake <- struct{}{}:
	default: // it is already brought forward
	}
}

// Webhook asks for one webhook, and reports whether it exists. Unlike a list, the answer is about this webhook.
func (a *Account) Webhook(ctx context.Context, id int64) (mandrill.Webhook, bool, error) {
	bounded, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	webhook, err := a.api.Webhook(bounded, id)
	switch {
	case errors.Is(err, mandrill.ErrUnknownWebhook):
		return mandrill.Webhook{}, false, nil
	case err != nil:
		return mandrill.Webhook{}, false, err
	case webhook.ID != id:
		return mandrill.Webhook{}, false, &mandrill.TransportError{Call: "webhooks/info", Err: errors.New("the answer is not the webhook")}
	}
	return webhook, true, nil
}

func (a *Account) fresh(maxAge time.Duration) ([]mandrill.Webhook, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.viewed.IsZero() || a.pool.now().Sub(a.viewed) > maxAge {
		return nil, false
	}
	return slices.Clone(a.view), true
}
