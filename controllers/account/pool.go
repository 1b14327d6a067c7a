package account

import (
	"context"
	"crypto/sha256"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// DefaultInterval is how often an account is listed.
const DefaultInterval = 5 * time.Minute

// defaultGap bounds how often bad signatures, which anybody can send, cause a list.
const defaultGap = time.Minute

// Options configures a [Pool]. NewAPI and Changed are required.
type Options struct {
	NewAPI   func(apiKey string) (API, error)
	Changed  func(ctx context.Context, object types.NamespacedName) // called when an object's webhook or inbound domains changed
	Interval time.Duration                                          // between lists of an account, within 10 %; default DefaultInterval
	Gap      time.Duration                                          // minimum time between a list and one that is brought forward; default 1 minute
	Now      func() time.Time

	// Place returns the part of a URL that a status shows, in one form for the URL and for what is shown; default: the URL itself.
	Place func(url string) string
}

// Pool holds the account of every API key in use, and polls the accounts that objects follow.
type Pool struct {
	options Options
	pollers sync.WaitGroup

	mu       sync.Mutex
	running  context.Context                //nolint:containedctx // set by Start, the context of all pollers
	accounts map[[sha256.Size]byte]*Account // by hash of the API key
	followed map[types.NamespacedName]*Account
}

// NewPool returns a pool. It polls from the time that it is started.
func NewPool(options Options) *Pool {
	if options.Interval == 0 {
		options.Interval = DefaultInterval
	}
	if options.Gap == 0 {
		options.Gap = defaultGap
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Place == nil {
		options.Place = func(url string) string { return url }
	}
	return &Pool{options: options, accounts: map[[sha256.Size]byte]*Account{}, followed: map[types.NamespacedName]*Account{}}
}

func (p *Pool) now() time.Time { return p.options.Now() }

// Account returns the account of an API key.
func (p *Pool) Account(apiKey string) (*Account, error) {
	hash := sha256.Sum256([]byte(apiKey))
	p.mu.Lock()
	defer p.mu.Unlock()
	if account, ok := p.accounts[hash]; ok {
		return account, nil
	}
	api, err := p.options.NewAPI(apiKey)
	if err != nil {
		return nil, err
	}
	account := &Account{api: api, pool: p, keyHash: hash, wake: make(chan struct{}, 1), listing: make(chan struct{}, 1), followers: map[types.NamespacedName]follower{}}
	p.accounts[hash] = account
	return account, nil
}

// Followed returns the account that an object last followed, or nil. With it a webhook can be deleted although the Secret
// of its API key is gone.
func (p *Pool) Followed(object types.NamespacedName) *Account {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.followed[object]
}

// PollSoon brings forward the next list of the account that an object follows, if any. It never blocks.
func (p *Pool) PollSoon(object types.NamespacedName) {
	if account := p.Followed(object); account != nil {
		account.listSoon()
	}
}

// Forget makes an object follow no account.
func (p *Pool) Forget(object types.NamespacedName) { p.moveTo(object, nil) }

// moveTo makes an object follow one account, or none, instead of the previous one.
func (p *Pool) moveTo(object types.NamespacedName, account *Account) {
	p.mu.Lock()
	previous := p.followed[object]
	if account == nil {
		delete(p.followed, object)
	} else {
		p.followed[object] = account
	}
	p.mu.Unlock()
	if previous != nil && previous != account {
		previous.mu.Lock()
		delete(previous.followers, object)
		previous.mu.Unlock()
	}
}

// Age returns the time since the last list of the account where that is longest, of those that objects follow. It returns
// false if none has been listed.
func (p *Pool) Age() (time.Duration, bool) {
	p.mu.Lock()
	accounts := slices.Collect(maps.Values(p.accounts))
	p.mu.Unlock()
	var oldest time.Duration
	known := false
	for _, account := range accounts {
		account.mu.Lock()
		if len(account.followers) > 0 && !account.listed.IsZero() {
			oldest, known = max(oldest, p.now().Sub(account.listed)), true
		}
		account.mu.Unlock()
	}
	return oldest, known
}

// Start polls until the context ends. The manager runs it on the leader only.
func (p *Pool) Start(ctx context.Context) error {
	p.mu.Lock()
	p.running = ctx
	accounts := slices.Collect(maps.Values(p.accounts))
	p.mu.Unlock()
	for _, account := range accounts {
		p.ensurePolling(account) //nolint:contextcheck // the same context
	}
	<-ctx.Done()
	p.pollers.Wait()
	return nil
}

// ensurePolling starts an account's poller if it has followers and no poller yet.
func (p *Pool) ensurePolling(account *Account) {
	p.mu.Lock()
	running := p.running
	p.mu.Unlock()
	account.mu.Lock()
	defer account.mu.Unlock()
	if running == nil || running.Err() != nil || account.polling || len(account.followers) == 0 {
		return
	}
	account.polling = true
	p.pollers.Go(func() { p.poll(running, account) })
}

// poll lists an account once per interval as long as objects follow it.
func (p *Pool) poll(ctx context.Context, account *Account) {
	for p.wait(ctx, account) {
		account.mu.Lock()
		idle := len(account.followers) == 0
		if idle {
			account.polling, account.view, account.viewed, account.inbound = false, nil, time.Time{}, inbound{}
		}
		account.mu.Unlock()
		if idle {
			return
		}
		for _, object := range account.poll(ctx) {
			p.options.Changed(ctx, object)
		}
	}
}

// wait returns true when the account is to be listed: after the interval or, if a list is brought forward, once the gap
// after the last list is over. It returns false when the context ends.
func (p *Pool) wait(ctx context.Context, account *Account) bool {
	regular := time.NewTimer(time.Duration((0.9 + rand.Float64()/5) * float64(p.options.Interval))) //nolint:gosec // no secret
	defer regular.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-regular.C:
		return true
	case <-account.wake:
	}
	account.mu.Lock()
	since := p.now().Sub(account.tried)
	account.mu.Unlock()
	early := time.NewTimer(max(0, p.options.Gap-since))
	defer early.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-regular.C:
	case <-early.C:
	}
	return true
}

// Others returns how many webhooks that concern the objects are not the objects' own, see [Account.FollowOthers].
func (p *Pool) Others() int {
	p.mu.Lock()
	accounts := slices.Collect(maps.Values(p.accounts))
	p.mu.Unlock()
	count := 0
	for _, account := range accounts {
		account.mu.Lock()
		for _, seen := range account.followers {
			count += len(seen.others)
		}
		account.mu.Unlock()
	}
	return count
}
