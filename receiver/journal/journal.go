package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// The reasons why a batch cannot be kept. Mandrill sends it again.
var (
	ErrFull        = errors.New("the buffer is full")
	ErrUnavailable = errors.New("the buffer is not available")
)

const (
	// appendTimeout is for a disk that is slow. It is below what Mandrill and proxies wait.
	appendTimeout = 10 * time.Second
	// requestTimeout is for everything else that is asked of JetStream, which may have to read.
	requestTimeout = 20 * time.Second
	// clusterTimeout is that of a cluster, in which a request to a leader that is gone is never answered.
	clusterTimeout = 6 * time.Second
	// electionTime is how long what is not answered there is asked again, until another leader is elected, which takes 4 to 9
	// seconds, or again as long when nobody has won.
	electionTimeout = 12 * time.Second
	// clusterPatience is how long a cluster may take to answer again before the connection is made anew. It elects a
	// leader in some 10 seconds.
	clusterRecoveryTimeout = 30 * time.Second
	// While the buffer does not work it is tried again, at first after minPause, then twice as long up to maxPause.
	minPause = 250 * time.Millisecond
	maxPause = 5 * time.Second
	// checkInterval is how often an idle journal looks whether it works, for metrics and readiness.
	checkInterval = 10 * time.Second
)

// Options configures a [Journal]. Engine is required.
type Options struct {
	Engine Engine
	Limits Limits
	// KeepLimits leaves the limits of streams that are there as they are; default: they follow Limits.
	KeepLimits bool
	// Existing makes no streams: without them there is an error.
	Existing bool
	Replicas int    // of each stream; default 1
	Name     string // begins the names of streams and subjects; default "mandrill"
	// LeaseTime is how long the one who delivers may be silent before another takes over; default DefaultLeaseTime.
	LeaseTime time.Duration
	Metrics   *Metrics
	Logger    *slog.Logger     // default: slog.Default()
	Now       func() time.Time // default time.Now
}

// Engine runs the server with the streams, or connects to it: one of package engine.
type Engine interface {
	// Open returns a connection. It is called again after the journal has closed the previous one because it failed.
	Open(ctx context.Context) (*engine.Connection, error)
	// Close stops what outlives a connection.
	Close()
}

// errPartitioned is why nothing can be stored when the answer of another member is needed.
var errPartitioned = errors.New("this member has lost contact with the others")

// partitioned reports whether requests would wait for other members in vain.
func (s *session) partitioned() bool { return s.isPartitioned != nil && s.isPartitioned() }

// syncDir syncs the directory of a stream that was written to, if that is not up to the server.
func (s *session) syncDir(stream string) error {
	if s.syncStreamDir == nil {
		return nil
	}
	return s.syncStreamDir(stream)
}

// errEngineFailed means that the server reported a broken store; its log line says which.
var errEngineFailed = errors.New("the server's store has failed")

// Journal keeps batches. It is safe for concurrent use.
type Journal struct {
	engine               Engine
	limits               Limits
	keepLimits, existing bool
	replicas             int
	name                 string
	holder               string // of the right to deliver
	leaseTime            time.Duration
	sweepInterval        time.Duration
	metrics              *Metrics
	logger               *slog.Logger
	now                  func() time.Time

	current    atomic.Pointer[session] // nil: not available
	failed     chan *session           // those that failed
	recovering atomic.Bool             // it is not known whether it works
	mu         sync.Mutex
	available  chan struct{} // closed while it is available
}

// session is the journal as long as its connection lasts.
type session struct {
	conn          *nats.Conn
	stream        jetstream.JetStream
	batches       jetstream.Stream
	remainders    jetstream.Stream
	finished      jetstream.Stream
	dead          jetstream.Stream
	objects       jetstream.Stream // that large is made of
	objectStore   jetstream.ObjectStore
	stateStream   jetstream.Stream // that state is made of
	state         jetstream.KeyValue
	secretKey     []byte // of identities
	maxMessage    int
	disk          *engine.DiskReserve // nil: the volume is somebody else's
	diskLow       bool                // there is none for batches
	timeout       time.Duration       // of a request
	leaseTime     time.Duration
	alone         bool                      // nobody else uses the streams
	isPartitioned func() bool               // nil: never
	syncStreamDir func(stream string) error // nil: the server does it
	unreadable    *atomic.Bool              // there is something that could not be read
	lifetime      context.Context           //nolint:containedctx // it is how others learn of the end
}

// New returns a journal, which works when Run runs.
func New(options Options) *Journal {
	j := &Journal{
		engine: options.Engine, limits: options.Limits, keepLimits: options.KeepLimits, existing: options.Existing, replicas: max(options.Replicas, 1), name: options.Name,
		holder: nuid.Next(), leaseTime: options.LeaseTime, sweepInterval: gcInterval,
		metrics: options.Metrics, logger: options.Logger, now: options.Now, failed: make(chan *session, 1), available: make(chan struct{}),
	}
	if j.name == "" {
		j.name = DefaultName
	}
	if j.leaseTime == 0 {
		j.leaseTime = DefaultLeaseTime
	}
	if j.metrics == nil {
		j.metrics = NewMetrics(nil)
	}
	if j.logger == nil {
		j.logger = slog.Default()
	}
	if j.now == nil {
		j.now = time.Now
	}
	return j
}

// Run keeps the journal available until the context ends: it opens the engine, and opens it again when it does not work.
// It returns an error only for what cannot pass: streams that would lose data.
func (j *Journal) Run(ctx context.Context) error {
	defer j.engine.Close()
	pause := minPause
	for ctx.Err() == nil {
		begun := j.now()
		err := j.runSession(ctx)
		if fatal := new(ConfigError); errors.As(err, &fatal) {
			return err
		}
		if ctx.Err() != nil {
			break
		}
		j.logger.Error("The buffer does not work, opening it again", "error", err.Error())
		j.metrics.failures.Inc()
		if j.now().Sub(begun) > maxPause {
			pause = minPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, maxPause)
	}
	return nil
}

// session opens the engine and returns when it does not work any more.
func (j *Journal) runSession(ctx context.Context) error {
	connection, err := j.engine.Open(ctx)
	if err != nil {
		return fmt.Errorf("opening the buffer: %w", err)
	}
	defer connection.Close()
	j.metrics.damaged.Add(float64(connection.Repairs.Damaged))
	for reason, count := range connection.Repairs.Skipped {
		j.metrics.repairsSkipped.WithLabelValues(string(reason)).Add(float64(count))
	}
	s, err := j.open(ctx, connection)
	if err != nil {
		return err
	}
	if err := s.probe(ctx); err != nil {
		return fmt.Errorf("writing to the buffer: %w", err)
	}
	life, end := context.WithCancel(ctx)
	defer end()
	s.lifetime = life
	j.checkDisk(s)
	j.current.Store(s)
	defer j.current.Store(nil)
	defer j.setAvailable()()
	j.metrics.available.Set(1)
	defer j.metrics.available.Set(0)
	j.logger.Info("The buffer is available")
	return j.watch(ctx, s, connection.Failed)
}

// watch returns when a session does not work any more.
func (j *Journal) watch(ctx context.Context, s *session, engineFailed <-chan struct{}) error {
	ticker, disk := time.NewTicker(checkInterval), time.NewTicker(diskCheckInterval)
	defer ticker.Stop()
	defer disk.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-engineFailed:
			return errEngineFailed
		case failed := <-j.failed:
			if failed != s {
				continue
			}
			if s.unreadable.Load() {
				return errUnreadable
			}
			if err := j.waitForRecovery(ctx, s); err != nil {
				return fmt.Errorf("writing to the buffer: %w", err)
			}
		case <-disk.C:
			j.checkDisk(s)
		case <-ticker.C:
			if err := j.measure(ctx, s); err != nil {
				j.fail(s)
			}
		}
	}
}

// revive finds out whether a session works. A cluster has some time to do so again: it may be electing a leader, or the
// client be connecting to another server.
func (j *Journal) waitForRecovery(ctx context.Context, s *session) error {
	err := s.probe(ctx)
	if err == nil || s.alone {
		return err
	}
	j.recovering.Store(true)
	defer j.recovering.Store(false)
	j.logger.Warn("The buffer does not answer, waiting for it", "error", err.Error())
	j.metrics.available.Set(0)
	for begun := time.Now(); err != nil && !s.conn.IsClosed() && time.Since(begun) < clusterRecoveryTimeout; {
		select {
		case <-time.After(minPause):
		case <-ctx.Done():
			return ctx.Err()
		}
		err = s.probe(ctx)
	}
	if err == nil {
		j.metrics.available.Set(1)
		j.logger.Info("The buffer answers again")
	}
	return err
}

// fail has a session looked at that has failed.
func (j *Journal) fail(s *session) {
	select {
	case j.failed <- s:
	default: // it is about to be
	}
}

// condemn has a session ended in which something cannot be read.
func (j *Journal) reportUnreadable(s *session) {
	s.unreadable.Store(true)
	j.fail(s)
}

// measure takes note of how much is stored.
func (j *Journal) measure(ctx context.Context, s *session) error {
	for name, stream := range map[string]jetstream.Stream{"batches": s.batches, "remainders": s.remainders, "dead_letters": s.dead} {
		bounded, cancel := s.withTimeout(ctx)
		info, err := stream.Info(bounded)
		cancel()
		if err != nil {
			return fmt.Errorf("asking for the state of a stream: %w", err)
		}
		j.metrics.stored.WithLabelValues(name).Set(float64(info.State.Bytes))
		j.metrics.limit.WithLabelValues(name).Set(float64(info.Config.MaxBytes))
		lost := 0
		if info.State.Lost != nil {
			lost = len(info.State.Lost.Msgs)
		}
		j.metrics.lost.WithLabelValues(name).Set(float64(lost))
	}
	return nil
}

// Available tells whether a batch can be kept.
func (j *Journal) Available(ctx context.Context) bool {
	s := j.current.Load()
	if s == nil || j.recovering.Load() || s.partitioned() { // a partitioned member may still answer
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	info, err := s.batches.Info(ctx)
	if err != nil {
		j.fail(s)
		return false
	}
	limit := info.Config.MaxBytes
	return s.disk.HasSlack() && (limit <= 0 || int64(info.State.Bytes) < limit-limit/freeFraction) //nolint:gosec // far below
}

// full is the part of the limit, one in so many, that must be free for the buffer to be called available.
const freeFraction = 50

// announce wakes those who wait for the journal. What it returns makes others wait again.
func (j *Journal) setAvailable() (end func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.available)
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.available = make(chan struct{})
	}
}

// Opened waits until the journal is available.
func (j *Journal) WaitAvailable(ctx context.Context) error {
	j.mu.Lock()
	opened := j.available
	j.mu.Unlock()
	select {
	case <-opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
