package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

const (
	// DefaultName begins the names of streams and subjects.
	DefaultName = "mandrill"
	// finishedBytes is enough for the ids of a million finished batches.
	finishedBytes = 128 << 20
	// stateBytes is enough for a few names.
	stateBytes = 4 << 20
	// oldestServer is the oldest NATS server that is supported. oldest_test.go runs the buffer on it.
	oldestServer = "2.10"
)

// ConfigError reports settings under which data would be lost. Somebody must change them.
type ConfigError = engine.ConfigError

// Limits are how many bytes may be stored of what.
type Limits struct {
	Batches     int64
	Remainders  int64
	Objects     int64 // events that do not fit into a message
	DeadLetters int64
	Finished    int64 // ids of finished batches
	Reserve     int64 // kept free on the volume, so that what is stored can be deleted
}

// MinBytes is the smallest buffer.
const MinBytes = 64 << 20

// SplitLimits divides a total. With deadLetters 0 dead letters get a tenth of it.
func SplitLimits(total, deadLetters int64) (Limits, error) {
	if total < MinBytes {
		return Limits{}, fmt.Errorf("the buffer must have at least %d MiB", MinBytes>>20)
	}
	if deadLetters == 0 {
		deadLetters = total / 10
	}
	if deadLetters < 0 || deadLetters > total/2 {
		return Limits{}, errors.New("dead letters may have up to half of the buffer")
	}
	finished := min(finishedBytes, total/20)
	reserve := engine.ReserveFor(total)
	left := total - deadLetters - finished - stateBytes - reserve
	remainders, objects := left/6, left/4
	return Limits{Batches: left - remainders - objects, Remainders: remainders, Objects: objects, DeadLetters: deadLetters, Finished: finished, Reserve: reserve}, nil
}

func (l Limits) total() int64 {
	return l.Batches + l.Remainders + l.Objects + l.DeadLetters + l.Finished + stateBytes
}

// The kinds of streams. A subject is the name of the buffer, a kind, and a webhook or an id.
const (
	kindBatch      = "batch"
	kindRemainder  = "remainder"
	kindFinished   = "finished"
	kindDeadLetter = "dead-letter"
	kindObjects    = "objects"
	kindState      = "state"
)

func (j *Journal) subject(kind, name string) string { return j.name + "." + kind + "." + name }

func (s *session) finishedSubject(id string) string { return s.name + "." + kindFinished + "." + id }

// token escapes a webhook's name, so that it is one token of a subject.
func token(webhook string) string {
	var out strings.Builder
	for _, c := range []byte(webhook) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '/' {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, "=%02X", c)
		}
	}
	return out.String()
}

// config is that of a stream that loses nothing: what does not fit is refused, and nothing expires.
func (j *Journal) config(kind string, limit int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: j.name + "-" + kind, Subjects: []string{j.subject(kind, ">")}, Storage: jetstream.FileStorage,
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, MaxBytes: limit, MaxMsgs: -1, MaxMsgsPerSubject: -1,
		Replicas: j.replicas, Duplicates: duplicateWindow,
		// Direct gets may be served by a lagging replica, so they are allowed only with a single replica.
		AllowDirect: j.replicas == 1,
	}
}

// finishedConfig is that of a stream that forgets the oldest. At worst a batch is delivered twice.
func (j *Journal) finishedConfig() jetstream.StreamConfig {
	config := j.config(kindFinished, j.limits.Finished)
	config.Discard, config.MaxAge, config.MaxMsgsPerSubject = jetstream.DiscardOld, duplicateWindow, 1
	config.Duplicates = time.Minute
	return config
}

// objectsConfig and stateConfig are those of the client for object stores and key-value buckets, except AllowDirect, which the
// client always sets.
func (j *Journal) objectsConfig() jetstream.StreamConfig {
	config := j.config("", j.limits.Objects)
	config.Name, config.Subjects = "OBJ_"+j.bucket(kindObjects), []string{"$O." + j.bucket(kindObjects) + ".C.>", "$O." + j.bucket(kindObjects) + ".M.>"}
	config.Duplicates, config.AllowRollup = 0, true
	return config
}

func (j *Journal) stateConfig() jetstream.StreamConfig {
	config := j.config("", stateBytes)
	config.Name, config.Subjects = "KV_"+j.bucket(kindState), []string{"$KV." + j.bucket(kindState) + ".>"}
	config.Duplicates, config.AllowRollup = 0, true
	config.MaxMsgsPerSubject, config.DenyDelete = 1, true
	return config
}

func (j *Journal) bucket(kind string) string { return j.name + "-" + kind }

// open finds or creates the streams.
func (j *Journal) open(ctx context.Context, connection *engine.Connection) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	policy, conn := store.PolicyFor(connection.Exclusive), connection.Conn
	stream, err := jetstream.New(conn, jetstream.WithDefaultTimeout(policy.Timeout))
	if err != nil {
		return nil, fmt.Errorf("using JetStream: %w", err)
	}
	if j.intercept != nil {
		stream = j.intercept(stream)
	}
	s := &session{
		name: j.name, maxMessage: min(maxMessage, int(conn.MaxPayload())-messageReserve),
		store: &store.Store{Policy: policy, JetStream: stream, Conn: conn, SyncDir: func(string) error { return nil }},
		disk:  connection.Reserve, isPartitioned: connection.Partitioned, recordFile: connection.RecordFile,
	}
	if err := checkServer(conn); err != nil {
		return nil, err
	}
	if err := j.openStreams(ctx, s); err != nil {
		return nil, err
	}
	s.store.BeforeRemoval = j.checkpointRemovals(s)
	if err := s.checkFormat(ctx); err != nil {
		return nil, err
	}
	if s.secretKey, err = s.identitySecret(ctx); err != nil {
		return nil, err
	}
	if connection.SyncDirs != nil {
		if err := connection.SyncDirs(); err != nil {
			return nil, err
		}
		s.store.SyncDir = connection.SyncDir
	}
	j.gcAtStart(ctx, s)
	return s, nil
}

// checkServer refuses a server that is too old, or whose messages are too small.
func checkServer(conn *nats.Conn) error {
	if version := conn.ConnectedServerVersion(); store.OlderThan(version, oldestServer) {
		return &ConfigError{Err: fmt.Errorf("the server is NATS %s, and must be NATS %s or newer", version, oldestServer)}
	}
	if conn.MaxPayload() < 2*messageReserve {
		return &ConfigError{Err: fmt.Errorf("the server's max_payload must be at least %d bytes", 2*messageReserve)}
	}
	return nil
}

func (j *Journal) openStreams(ctx context.Context, s *session) (err error) {
	var objects, state jetstream.Stream
	for _, each := range []struct {
		is     *jetstream.Stream
		config jetstream.StreamConfig
	}{
		{&s.batches, j.config(kindBatch, j.limits.Batches)},
		{&s.remainders, j.config(kindRemainder, j.limits.Remainders)},
		{&s.dead, j.config(kindDeadLetter, j.limits.DeadLetters)},
		{&s.finished, j.finishedConfig()},
		{&objects, j.objectsConfig()},
		{&state, j.stateConfig()},
	} {
		if *each.is, err = j.ensureStream(ctx, s, each.config); err != nil {
			return err
		}
	}
	bounded, end := s.store.WithTimeout(ctx)
	defer end()
	if s.objects, err = s.store.OpenObjects(bounded, j.bucket(kindObjects), objects, s.maxMessage); err != nil {
		return err
	}
	s.state, err = s.store.OpenState(bounded, j.bucket(kindState), state)
	return err
}

// ensureStream creates a stream, or checks the one that there is. A shared buffer is asked until the context ends: a cluster that
// has just started has no leader, and does not answer while a stream is being created.
func (j *Journal) ensureStream(ctx context.Context, s *session, want jetstream.StreamConfig) (jetstream.Stream, error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, s.store.Attempt)
		found, err := j.findOrCreate(attempt, s.store.JetStream, want)
		cancel()
		if err == nil || s.store.RetryFor == 0 || !store.IsNoLeader(err) || store.Sleep(ctx, store.MinPause) != nil {
			return found, err
		}
	}
}

func (j *Journal) findOrCreate(ctx context.Context, stream jetstream.JetStream, want jetstream.StreamConfig) (jetstream.Stream, error) {
	found, err := stream.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) && j.existing {
		return nil, &ConfigError{Err: fmt.Errorf("there is no buffer of the name %s", j.name)}
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		found, err = stream.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process has just created it
			found, err = stream.Stream(ctx, want.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("creating the stream %s: %w", want.Name, j.withRemedy(err))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the stream %s: %w", want.Name, err)
	}
	info := found.CachedInfo()
	if faults := store.Faults(info.Config, want); len(faults) > 0 {
		return nil, &ConfigError{Err: fmt.Errorf("the stream %s would lose data: %s; change its settings, or remove it when it is empty", want.Name, strings.Join(faults, "; "))}
	}
	// The limit follows ours, but not below what is stored.
	if j.keepLimits || info.Config.MaxBytes == want.MaxBytes || int64(info.State.Bytes) > want.MaxBytes { //nolint:gosec // far below
		return found, nil
	}
	changed := info.Config
	changed.MaxBytes = want.MaxBytes
	if found, err = stream.UpdateStream(ctx, changed); err != nil {
		return nil, fmt.Errorf("changing the limit of the stream %s: %w", want.Name, err)
	}
	return found, nil
}

// withRemedy adds what to do about an error of creating a stream.
func (j *Journal) withRemedy(err error) error {
	switch {
	case store.IsNotClustered(err):
		return &ConfigError{Err: fmt.Errorf("%w: a single server cannot keep %d replicas; lower --buffer-replicas to 1, or use a cluster", err, j.replicas)}
	case store.IsTooFewServers(err):
		return fmt.Errorf("%w: %d servers of the cluster must have JetStream and %d bytes of storage", err, j.replicas, j.limits.total())
	}
	return err
}
