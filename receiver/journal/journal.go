package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/checkpoint"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/finished"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/lease"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/partition"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/quarantine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/streams"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/usage"
)

// The reasons why a batch cannot be stored. Mandrill sends it again.
var (
	ErrFull        = errors.New("the buffer is full")
	ErrUnavailable = errors.New("the buffer is not available")
)

// Options configures a [Journal]. Engine is required.
type Options struct {
	Engine Engine
	Limits Limits
	// KeepLimits leaves the limits of existing streams as they are; default: they follow Limits.
	KeepLimits bool
	// Existing creates no streams: without them Run returns an error.
	Existing bool
	Replicas int    // of each stream; default 1
	Name     string // begins the names of streams and subjects; default "mandrill"
	// LeaseTime is how long a process that delivers may be silent before others take over; default lease.DefaultTime.
	LeaseTime time.Duration
	// Partitions is how many partitions a shared buffer has. All processes that share it must have the same; default partition.Count.
	Partitions int
	// DeadLetterMaxAge is when dead letters are removed; 0: never.
	DeadLetterMaxAge time.Duration
	// LostDamaged is called with the webhook of each message that is lost because it is damaged, as far as it can be read; nil: it is not.
	LostDamaged func(webhook string)
	Metrics     *Metrics
	Logger      *slog.Logger     // default: slog.Default()
	Now         func() time.Time // default time.Now
}

// Engine runs the server with the streams, or connects to it: one of package engine.
type Engine interface {
	// Open returns a connection. It is called again after the journal has closed the previous one because it failed.
	Open(ctx context.Context) (*engine.Connection, error)
	// Close stops what outlives a connection.
	Close()
}

// errAppendsFail ends a session in which batches cannot be stored though the probe succeeds.
var errAppendsFail = errors.New("batches could not be stored, several times in a row")

// errPartitioned is why nothing can be stored when the answer of another member is needed.
var errPartitioned = errors.New("this member has lost contact with the others")

// partitioned reports whether this member has lost contact with the others, so that no request would be answered.
func (s *session) partitioned() bool { return s.isPartitioned != nil && s.isPartitioned() }

// errEngineFailed means that the server reported a broken store; its log line says which.
var errEngineFailed = errors.New("the server's store has failed")

// Journal stores batches until they are delivered. It is safe for concurrent use.
type Journal struct {
	engine           Engine
	layout           streams.Layout
	member           string // of those that deliver from a shared buffer; empty: not yet
	partitions       int    // of a shared buffer
	turns            *quarantine.Turns
	leaseTime        time.Duration
	gcInterval       time.Duration
	deadLetterMaxAge time.Duration
	ageInterval      time.Duration        // set by tests
	elapsed          func() time.Duration // since the start, whatever happens to the time of day
	lostDamaged      func(webhook string)
	metrics          *Metrics
	logger           *slog.Logger
	now              func() time.Time
	checkpoint       *checkpoint.Tracker
	intercept        func(jetstream.JetStream) jetstream.JetStream // set by tests

	current    atomic.Pointer[session] // nil: not available
	failed     chan *session           // sessions with an error, to be checked
	recovering atomic.Bool             // it does not answer, and may do so again
	mu         sync.Mutex
	available  chan struct{} // closed while the journal is available
}

// session is the journal as long as its connection lasts.
type session struct {
	store         *store.Store
	batches       jetstream.Stream
	remainders    jetstream.Stream
	dead          jetstream.Stream
	finished      *finished.Marks
	lastOfEarlier uint64 // sequence of the last batch that an earlier session of an exclusive buffer has stored
	objects       *store.Objects
	state         *store.State
	subjects      *partition.Subjects
	shares        *store.Shares // of the dead letters, by webhook
	secretKey     []byte        // of identities
	maxMessage    int
	disk          *engine.DiskReserve // nil: the volume is not ours
	isPartitioned func() bool         // nil: never
	recordFile    string              // of what is being processed; empty: it is in the state
	diskLow       bool                // the volume has no space for batches
	failedAppends atomic.Int32        // in a row
	unreadable    atomic.Bool         // a message could not be read
	lifetime      context.Context     //nolint:containedctx // ends with the session
}

// New returns a journal, which works while Run runs.
func New(options Options) *Journal {
	j := &Journal{
		engine:     options.Engine,
		layout:     streams.Layout{Name: cmp.Or(options.Name, DefaultName), Limits: options.Limits, Replicas: max(options.Replicas, 1), KeepLimits: options.KeepLimits, Existing: options.Existing},
		partitions: cmp.Or(options.Partitions, partition.Count), turns: quarantine.NewTurns(), leaseTime: options.LeaseTime, gcInterval: gcInterval, deadLetterMaxAge: options.DeadLetterMaxAge,
		lostDamaged: options.LostDamaged, metrics: options.Metrics, logger: options.Logger, now: options.Now, failed: make(chan *session, 1), available: make(chan struct{}),
	}
	if j.leaseTime == 0 {
		j.leaseTime = lease.DefaultTime
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
	begun := time.Now()
	j.elapsed = func() time.Duration { return time.Since(begun) }
	j.checkpoint = checkpoint.New(j.logger, j.now)
	return j
}

// Run keeps the journal available until the context ends: it opens the engine, and opens it again when it does not work.
// It returns an error only for what does not pass by itself: a [ConfigError], or [engine.ErrStuck].
func (j *Journal) Run(ctx context.Context) error {
	defer j.engine.Close()
	retry := store.NewBackoff(j.now)
	for ctx.Err() == nil {
		retry.Begin()
		err := j.runSession(ctx)
		if ctx.Err() != nil {
			break
		}
		if fatal := new(ConfigError); errors.As(err, &fatal) || errors.Is(err, engine.ErrStuck) {
			return err
		}
		j.logger.Error("The buffer failed and is opened again", "error", err.Error())
		j.metrics.Failures.Inc()
		if retry.Wait(ctx) != nil {
			break
		}
	}
	return nil
}

// runSession opens the engine and returns when it does not work any more.
func (j *Journal) runSession(ctx context.Context) error {
	connection, err := j.engine.Open(ctx)
	if err != nil {
		return fmt.Errorf("opening the buffer: %w", err)
	}
	defer connection.Close()
	j.metrics.Damaged.Add(float64(connection.Repairs.Damaged))
	for reason, count := range connection.Repairs.Skipped {
		j.metrics.RepairsSkipped.WithLabelValues(string(reason)).Add(float64(count))
	}
	s, err := j.open(ctx, connection)
	if err != nil {
		return err
	}
	if err := s.probe(ctx); err != nil {
		return fmt.Errorf("writing to the buffer: %w", err)
	}
	checkpoints := j.checkpointKeeper(s)
	if err := checkpoints.FindLost(ctx, connection.Checkpoint, connection.Repairs.Lost); err != nil {
		return err
	}
	j.showLost(checkpoint.Streams...)
	life, end := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer func() {
		end()
		background.Wait()
		if ctx.Err() != nil {
			checkpoints.WriteLast(ctx)
		}
	}()
	s.lifetime = life
	background.Go(func() { checkpoints.Run(life, s.keeperInterval()) })
	background.Go(func() { j.layout.Shrink(life, s.store, j.logger) })
	j.checkDisk(s)
	j.current.Store(s)
	defer j.current.Store(nil)
	defer j.setAvailable()()
	j.metrics.Available.Set(1)
	defer j.metrics.Available.Set(0)
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
			if s.failedAppends.Load() >= maxFailedAppends {
				return errAppendsFail
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

// waitForRecovery checks whether a session works. A shared buffer may take clusterRecoveryTimeout to do so again: it may be
// electing a leader, or the client may be connecting to another server.
func (j *Journal) waitForRecovery(ctx context.Context, s *session) error {
	err := s.probe(ctx)
	if err == nil || s.store.Exclusive || errors.Is(err, jetstream.ErrStreamNotFound) { // a stream that was deleted does not come back
		return err
	}
	j.recovering.Store(true)
	defer j.recovering.Store(false)
	j.logger.Warn("The buffer did not answer, waiting for it", "error", err.Error())
	j.metrics.Available.Set(0)
	for begun := time.Now(); err != nil && !s.store.Conn.IsClosed() && time.Since(begun) < clusterRecoveryTimeout; {
		if err := store.Sleep(ctx, store.MinPause); err != nil {
			return err
		}
		err = s.probe(ctx)
	}
	if err == nil {
		j.metrics.Available.Set(1)
		j.logger.Info("The buffer answered again")
	}
	return err
}

// probe finds out whether batches can be stored, by what storing one needs: a write, the stream, and its directory.
func (s *session) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(s.store.Timeout, appendTimeout))
	defer cancel()
	if _, err := s.state.KeyValue.Put(ctx, "probe", nil); err != nil {
		return err
	}
	info, err := s.batches.Info(ctx)
	if err != nil {
		return err
	}
	return s.store.SyncDir(info.Config.Name)
}

// fail has a session checked after an error.
func (j *Journal) fail(s *session) {
	select {
	case j.failed <- s:
	default: // one is about to be
	}
}

// reportUnreadable ends a session in which a message cannot be read. Opening the buffer again finds the damage.
func (j *Journal) reportUnreadable(s *session) {
	s.unreadable.Store(true)
	j.fail(s)
}

// measure sets the metrics of the streams.
func (j *Journal) measure(ctx context.Context, s *session) error {
	return s.store.EachInfo(ctx, s.measured(), func(name string, info *jetstream.StreamInfo) {
		j.metrics.Stored.WithLabelValues(name).Set(float64(info.State.Bytes))
		j.metrics.Limit.WithLabelValues(name).Set(float64(info.Config.MaxBytes))
		j.showLost(name)
	})
}

// Stored counts the messages in the buffer, by stream as in the metrics: batches, remainders and dead_letters.
func (j *Journal) Stored(ctx context.Context) (map[string]uint64, error) {
	s := j.current.Load()
	if s == nil {
		return nil, ErrUnavailable
	}
	counts := map[string]uint64{}
	return counts, s.store.EachInfo(ctx, s.measured(), func(name string, info *jetstream.StreamInfo) { counts[name] = info.State.Msgs })
}

// Available reports whether a batch can be stored.
func (j *Journal) Available(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	used, err := j.Usage(ctx)
	return err == nil && !used.Full
}

// Usage returns how full the buffer is, and an error while it is not available.
func (j *Journal) Usage(ctx context.Context) (usage.Usage, error) {
	s := j.current.Load()
	if s == nil || j.recovering.Load() || s.partitioned() { // a partitioned member may still answer
		return usage.Usage{}, ErrUnavailable
	}
	used, err := usage.Of(ctx, s.batches, s.disk.HasSlack())
	if err != nil {
		j.fail(s)
	}
	return used, err
}

// HeldDeadLetters counts the dead letters in the buffer, by webhook.
func (j *Journal) HeldDeadLetters(ctx context.Context) (map[string]int64, error) {
	s := j.current.Load()
	if s == nil {
		return nil, ErrUnavailable
	}
	return usage.ByWebhook(ctx, s.store, s.dead, func(name string) string { return j.subject(kindDeadLetter, name) })
}

// setAvailable wakes callers of WaitAvailable. After end they wait again.
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

// WaitAvailable waits until the journal is available.
func (j *Journal) WaitAvailable(ctx context.Context) error {
	j.mu.Lock()
	available := j.available
	j.mu.Unlock()
	select {
	case <-available:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
