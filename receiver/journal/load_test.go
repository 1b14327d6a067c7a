package journal_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// writers append batches to journals all the time, and retry what is refused, as Mandrill does.
type writers struct {
	t        *testing.T
	journals func() []*journal.Journal
	mu       sync.Mutex
	accepted []string
	refused  atomic.Int64
	end      context.CancelFunc
	group    sync.WaitGroup
}

func load(t *testing.T, journals ...*journal.Journal) *writers {
	t.Helper()
	return loadAny(t, func() []*journal.Journal { return journals })
}

// loadAny asks each time which journals there are.
func loadAny(t *testing.T, journals func() []*journal.Journal) *writers {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &writers{t: t, journals: journals, end: cancel}
	for writer := range 4 {
		w.group.Go(func() {
			i := 0
			for tick := time.Tick(100 * time.Millisecond); ctx.Err() == nil; <-tick { // so that delivery keeps up
				w.write(ctx, fmt.Sprintf(`"%d-%d"`, writer, i), writer+i)
				i++
			}
		})
	}
	t.Cleanup(func() { w.stop() })
	return w
}

// write appends a batch until one of the journals accepts it.
func (w *writers) write(ctx context.Context, value string, at int) {
	for ; ctx.Err() == nil; at++ {
		journals := w.journals()
		_, err := journals[at%len(journals)].Append(context.WithoutCancel(ctx), batch("shop/a", value))
		if err == nil {
			w.mu.Lock()
			w.accepted = append(w.accepted, "["+value+"]")
			w.mu.Unlock()
			return
		}
		if !errors.Is(err, journal.ErrUnavailable) {
			w.t.Errorf("appending: %v", err)
		}
		w.refused.Add(1)
		select {
		case <-time.After(20 * time.Millisecond): // else it is a busy loop
		case <-ctx.Done():
		}
	}
}

// progress waits until so many more are accepted, and resets the count of refusals.
func (w *writers) progress(more int) {
	w.t.Helper()
	count := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.accepted)
	}
	before := count()
	until(w.t, fmt.Sprintf("appending %d more", more), func() bool { return count() >= before+more })
	w.refused.Store(0)
}

func (w *writers) refusals() int64 { return w.refused.Load() }

// stop returns what was accepted.
func (w *writers) stop() []string {
	w.end()
	w.group.Wait()
	return w.accepted
}

// ledger counts what is delivered, and fails the test when two deliver at a time.
type ledger struct {
	t          *testing.T
	mu         sync.Mutex
	got        map[string]int
	leader     string
	terms      int
	delivering map[int]*sync.Mutex // by partition
}

func newLedger(t *testing.T) *ledger {
	return &ledger{t: t, got: map[string]int{}, delivering: map[int]*sync.Mutex{}}
}

// lock is held while a partition is delivered.
func (l *ledger) lock(partition int) *sync.Mutex {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.delivering[partition] == nil {
		l.delivering[partition] = &sync.Mutex{}
	}
	return l.delivering[partition]
}

// follow delivers from a journal to a ledger of its own.
func follow(t *testing.T, j *journal.Journal) *ledger {
	t.Helper()
	l := newLedger(t)
	l.deliver("", j)
	return l
}

// deliver delivers from a journal until stop is called.
func (l *ledger) deliver(name string, j *journal.Journal) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = j.Lead(ctx, func(ctx context.Context, w *journal.Consumer) error { return l.term(ctx, name, w) })
	}()
	stop = func() { cancel(); <-ended }
	l.t.Cleanup(stop)
	return stop
}

// term delivers as the leader.
func (l *ledger) term(ctx context.Context, name string, w *journal.Consumer) error {
	delivering := l.lock(journal.PartitionOf(w))
	if !delivering.TryLock() {
		l.t.Errorf("%s and %s deliver at the same time", name, l.who())
		delivering.Lock()
	}
	defer delivering.Unlock()
	l.mu.Lock()
	l.leader = name
	l.terms++
	l.mu.Unlock()
	var left []*journal.StoredBatch
	if err := w.Remainders(ctx, func(stored *journal.StoredBatch) { left = append(left, stored) }); err != nil {
		return err
	}
	for _, stored := range left {
		if err := l.record(w, stored); err != nil { //nolint:contextcheck // work in flight is finished
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := uint64(0)
	err := w.Watch(ctx, func(notice journal.BatchInfo) {
		if notice.Seq < next || ctx.Err() != nil {
			return
		}
		stored, err := w.Next(w.LeaseContext(), notice.Webhook, next) //nolint:contextcheck // work in flight is finished
		if err == nil {
			next = stored.Position.Seq + 1
			err = l.record(w, stored) //nolint:contextcheck // work in flight is finished
		}
		if err != nil {
			cancel(err)
		}
	}, func() {})
	return errors.Join(err, context.Cause(ctx))
}

func (l *ledger) record(w *journal.Consumer, stored *journal.StoredBatch) error {
	l.mu.Lock()
	l.got[string(stored.Value)]++
	l.mu.Unlock()
	return w.Ack(w.LeaseContext(), stored)
}

func (l *ledger) who() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leader
}

// begun is how often a leader has begun.
func (l *ledger) begun() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.terms
}

// expect waits until all of these were delivered.
func (l *ledger) expect(values []string) {
	l.t.Helper()
	missing := func() (missing, twice int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, value := range values {
			if l.got[value] == 0 {
				missing++
			}
			if l.got[value] > 1 {
				twice++
			}
		}
		return missing, twice
	}
	until(l.t, "delivery of all", func() bool { left, _ := missing(); return left == 0 })
	_, twice := missing()
	l.t.Logf("of %d batches %d were delivered more than once", len(values), twice)
}

// certificates returns files of a new CA, for this machine.
func certificates(t *testing.T) engine.TLSFiles {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	ca, err := x509.CreateCertificate(rand.Reader, authority, authority, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	member := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "member"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, member, authority, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return engine.TLSFiles{CA: write("ca.pem", "CERTIFICATE", ca), Cert: write("cert.pem", "CERTIFICATE", cert), Key: write("key.pem", "PRIVATE KEY", private)}
}

// credentials returns those of a user, those of a user of another account, and a server that knows the first account.
func credentials(t *testing.T) (good, bad []byte, authority func(*server.Options)) {
	t.Helper()
	pair := func(make func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		key, err := make()
		if err != nil {
			t.Fatal(err)
		}
		public, err := key.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		return key, public
	}
	encode := func(claims jwt.Claims, by nkeys.KeyPair) string {
		token, err := claims.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	user := func(account nkeys.KeyPair) []byte {
		key, public := pair(nkeys.CreateUser)
		seed, err := key.Seed()
		if err != nil {
			t.Fatal(err)
		}
		file, err := jwt.FormatUserConfig(encode(jwt.NewUserClaims(public), account), seed)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	operator, operatorName := pair(nkeys.CreateOperator)
	account, accountName := pair(nkeys.CreateAccount)
	_, systemName := pair(nkeys.CreateAccount)
	stranger, _ := pair(nkeys.CreateAccount)
	claims := jwt.NewAccountClaims(accountName)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	resolver := &server.MemAccResolver{}
	for name, token := range map[string]string{accountName: encode(claims, operator), systemName: encode(jwt.NewAccountClaims(systemName), operator)} {
		if err := resolver.Store(name, token); err != nil {
			t.Fatal(err)
		}
	}
	trusted, err := jwt.DecodeOperatorClaims(encode(jwt.NewOperatorClaims(operatorName), operator))
	if err != nil {
		t.Fatal(err)
	}
	return user(account), user(stranger), func(options *server.Options) {
		options.TrustedOperators, options.AccountResolver, options.SystemAccount = []*jwt.OperatorClaims{trusted}, resolver, systemName
	}
}
