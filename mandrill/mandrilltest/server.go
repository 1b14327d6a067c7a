package mandrilltest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

const userAgent = "Mandrill-Webhook/1.0"

// Defaults, as at Mandrill. How many failures disable a webhook is not published; here it is three batches given up in a
// row.
const (
	defaultBatchInterval = time.Minute
	defaultRetryInterval = 20 * time.Minute
	defaultMaxAttempts   = 20
	defaultDisableAfter  = 60
	defaultPostTimeout   = 30 * time.Second
)

// Options configures a [Server]. The zero value means one account with the key "test-key", and Mandrill's intervals.
type Options struct {
	APIKeys       []string      // one account each
	BatchInterval time.Duration // between posts to one URL; default 1 minute
	RetryInterval time.Duration // mean time between attempts, each 75 to 125 % of it; default 20 minutes
	MaxAttempts   int           // of one batch, then it is dropped; default 20
	DisableAfter  int           // failed attempts in a row that empty a webhook's event list; default 60
	RefuseEvents  []string      // wire names of documented events to refuse, such as "deferral"
	DropEvents    []string      // wire names of documented events to drop silently
	ValidMX       bool          // whether new inbound domains have valid MX records
	HTTPClient    *http.Client  // probes and posts; default: 30 s timeout, redirects not followed
	Logger        *slog.Logger  // default: discards
	Start         time.Time     // what the clock says at first; default: the real time
	Speed         float64       // of the clock; default 1, which is real time
	Seed          uint64        // of ids, keys and pauses, which are the same each time then; default: random
	OnDelivery    func(Delivery)
}

// Server is an emulated Mandrill. It serves the API at /api/1.x/, and controls at /emulator/.
type Server struct {
	options Options
	ctx     context.Context
	stop    context.CancelFunc
	senders sync.WaitGroup
	clock   *clock
	planned chan struct{} // a step was planned

	refs sync.Mutex // held while a control with a ref runs

	mu          sync.Mutex        // guards what follows, and the content of the accounts
	answers     map[[3]string]any // to controls with a ref
	accounts    map[string]*Account
	faults      map[string][]Fault
	calls       []string
	nextID      int64
	steps       []step // in order of time
	random      *mathrand.Rand
	posting     context.Context // until the emulator is reset
	stopPosting context.CancelFunc
}

// Account is the account of one API key.
type Account struct {
	server   *Server
	revoked  bool
	webhooks []*webhook
	domains  []*domain
	queues   map[string]*queue // by URL
	// routeKeys sign for inbound routes at URLs without a webhook. The API does not show them.
	routeKeys   map[string]string
	templates   map[string]Template
	subaccounts map[string]bool
	denylist    map[string]string // reasons by address
	sent        []*sentMessage
	deliveries  []Delivery
	delivered   int64 // how many deliveries there were
}

// New returns a running server. Close stops its senders.
func New(options Options) *Server {
	setDefault(&options.BatchInterval, defaultBatchInterval)
	setDefault(&options.RetryInterval, defaultRetryInterval)
	setDefault(&options.MaxAttempts, defaultMaxAttempts)
	setDefault(&options.DisableAfter, defaultDisableAfter)
	setDefault(&options.Logger, slog.New(slog.DiscardHandler))
	setDefault(&options.HTTPClient, &http.Client{
		Timeout:       defaultPostTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	if len(options.APIKeys) == 0 {
		options.APIKeys = []string{"test-key"}
	}
	setDefault(&options.Speed, 1)
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{options: options, ctx: ctx, stop: stop, clock: newClock(options), planned: make(chan struct{}, 1), accounts: map[string]*Account{}}
	for _, key := range options.APIKeys {
		s.accounts[key] = &Account{server: s}
	}
	s.clear()
	s.senders.Go(s.runSteps)
	return s
}

// clear makes everything as it was at the start.
func (s *Server) clear() {
	s.answers = map[[3]string]any{}
	s.faults, s.calls, s.steps, s.nextID = map[string][]Fault{}, nil, nil, 100
	s.random = nil
	if s.options.Seed != 0 {
		s.random = mathrand.New(mathrand.NewPCG(s.options.Seed, 0)) //nolint:gosec // tests want the same each time
	}
	s.posting, s.stopPosting = context.WithCancel(s.ctx)
	for _, a := range s.accounts {
		*a = Account{
			server: s, queues: map[string]*queue{}, routeKeys: map[string]string{}, templates: map[string]Template{}, subaccounts: map[string]bool{},
			denylist: map[string]string{},
		}
	}
}

// Reset makes everything as it was at the start: accounts are empty, nothing fails, the clock and the seed begin again.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopPosting()
	s.clock.reset(s.options)
	s.clear()
}

func setDefault[T comparable](option *T, value T) {
	var zero T
	if *option == zero {
		*option = value
	}
}

// Close stops the senders and waits for them. Queued batches are lost.
func (s *Server) Close() {
	s.stop()
	s.senders.Wait()
}

// Account returns the account of an API key, or nil.
func (s *Server) Account(key string) *Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accounts[key]
}

// Revoke makes the API refuse the account's key, or accept it again.
func (a *Account) Revoke(revoked bool) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	a.revoked = revoked
}

// Calls returns the names of the API calls so far, such as "webhooks/add", in order and including refused ones.
func (s *Server) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// jitter returns 75 to 125 % of an interval, like Mandrill's 15 to 25 minutes.
func (s *Server) jitter(interval time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	fraction := mathrand.Float64() //nolint:gosec // no secret
	if s.random != nil {
		fraction = s.random.Float64()
	}
	return time.Duration((0.75 + fraction/2) * float64(interval))
}

// bytes returns 16 random bytes. The caller holds the mutex.
func (s *Server) bytes() []byte {
	if s.random != nil {
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.random.Uint64()), s.random.Uint64())
	}
	random := make([]byte, 16)
	_, _ = rand.Read(random) // never fails
	return random
}

func (s *Server) newSigningKey() string { return base64.RawURLEncoding.EncodeToString(s.bytes()) }

func (s *Server) newMessageID() string { return hex.EncodeToString(s.bytes()) }
