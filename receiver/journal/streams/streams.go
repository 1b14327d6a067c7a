// Package streams knows the streams of a buffer: their names, subjects, settings and limits.
package streams

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

const (
	// oldestServer is the oldest NATS server that is supported. oldest_test.go runs the buffer on it.
	oldestServer = "2.10"
	// finishedBytes is enough for the ids of a million finished batches.
	finishedBytes = 128 << 20
	// stateBytes is enough for a few names.
	stateBytes = 4 << 20
	// DuplicateWindow covers Mandrill's retries and some hours in which we do not answer.
	DuplicateWindow = 12 * time.Hour
)

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

// Total is the space that the streams may take; the reserve is not in it.
func (l Limits) Total() int64 {
	return l.Batches + l.Remainders + l.Objects + l.DeadLetters + l.Finished + stateBytes
}

// The kinds of streams. A subject is the name of the buffer, a kind, and a webhook or an id.
const (
	KindBatch      = "batch"
	KindRemainder  = "remainder"
	KindFinished   = "finished"
	KindDeadLetter = "dead-letter"
	KindObjects    = "objects"
	KindState      = "state"
)

// Layout says which streams a buffer has.
type Layout struct {
	Name       string // begins the names of streams and subjects
	Limits     Limits
	Replicas   int  // of each stream
	KeepLimits bool // of existing streams
	Existing   bool // create none
}

// Streams are the streams of a buffer.
type Streams struct{ Batches, Remainders, Dead, Finished, Objects, State jetstream.Stream }

// Subject is the subject of a name, or of a wildcard.
func (l *Layout) Subject(kind, name string) string { return l.Name + "." + kind + "." + name }

// Token escapes a webhook's name, so that it is one token of a subject.
func Token(webhook string) string {
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

// Webhook is the webhook of a [Token].
func Webhook(token string) string {
	var out strings.Builder
	for i := 0; i < len(token); i++ {
		if c, err := strconv.ParseUint(token[i:min(i+3, len(token))][min(1, len(token)-i):], 16, 8); token[i] == '=' && err == nil {
			out.WriteByte(byte(c))
			i += 2
			continue
		}
		out.WriteByte(token[i])
	}
	return out.String()
}

// config is that of a stream that loses nothing: what does not fit is refused, and nothing expires.
func (l *Layout) config(kind string, limit int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: l.Name + "-" + kind, Subjects: []string{l.Subject(kind, ">")}, Storage: jetstream.FileStorage,
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, MaxBytes: limit, MaxMsgs: -1, MaxMsgsPerSubject: -1,
		Replicas: l.Replicas, Duplicates: DuplicateWindow,
		// Direct gets may be served by a lagging replica, so they are allowed only with a single replica.
		AllowDirect: l.Replicas == 1,
	}
}

// finishedConfig is that of a stream that forgets the oldest. At worst a batch is delivered twice.
func (l *Layout) finishedConfig() jetstream.StreamConfig {
	config := l.config(KindFinished, l.Limits.Finished)
	config.Discard, config.MaxAge, config.MaxMsgsPerSubject = jetstream.DiscardOld, DuplicateWindow, 1
	config.Duplicates = time.Minute
	return config
}

// objectsConfig and stateConfig are those of the client for object stores and key-value buckets, except AllowDirect, which the
// client always sets.
func (l *Layout) objectsConfig() jetstream.StreamConfig {
	config := l.config("", l.Limits.Objects)
	config.Name, config.Subjects = "OBJ_"+l.Bucket(KindObjects), []string{"$O." + l.Bucket(KindObjects) + ".C.>", "$O." + l.Bucket(KindObjects) + ".M.>"}
	config.Duplicates, config.AllowRollup = 0, true
	return config
}

func (l *Layout) stateConfig() jetstream.StreamConfig {
	config := l.config("", stateBytes)
	config.Name, config.Subjects = "KV_"+l.Bucket(KindState), []string{"$KV." + l.Bucket(KindState) + ".>"}
	config.Duplicates, config.AllowRollup = 0, true
	config.MaxMsgsPerSubject, config.DenyDelete = 1, true
	return config
}

// Bucket is the name of the object store or the key-value bucket of a kind.
func (l *Layout) Bucket(kind string) string { return l.Name + "-" + kind }

// ensureStream creates a stream, or checks the one that there is. A shared buffer is asked until the context ends: a cluster that
// has just started has no leader, and does not answer while a stream is being created.
func (l *Layout) ensureStream(ctx context.Context, s *store.Store, want jetstream.StreamConfig) (jetstream.Stream, error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, s.Attempt)
		found, err := l.findOrCreate(attempt, s.JetStream, want)
		cancel()
		if err == nil || s.RetryFor == 0 || !store.IsNoLeader(err) || store.Sleep(ctx, store.MinPause) != nil {
			return found, err
		}
	}
}

func (l *Layout) findOrCreate(ctx context.Context, stream jetstream.JetStream, want jetstream.StreamConfig) (jetstream.Stream, error) {
	found, err := stream.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) && l.Existing {
		return nil, &engine.ConfigError{Err: fmt.Errorf("there is no buffer of the name %s", l.Name)}
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		found, err = stream.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process has just created it
			found, err = stream.Stream(ctx, want.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("creating the stream %s: %w", want.Name, l.withRemedy(err))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the stream %s: %w", want.Name, err)
	}
	info := found.CachedInfo()
	if faults := store.Faults(info.Config, want); len(faults) > 0 {
		return nil, &engine.ConfigError{Err: fmt.Errorf("the stream %s would lose data: %s; change its settings, or remove it when it is empty", want.Name, strings.Join(faults, "; "))}
	}
	// The limit follows ours, but not below what is stored.
	if l.KeepLimits || info.Config.MaxBytes == want.MaxBytes || int64(info.State.Bytes) > want.MaxBytes { //nolint:gosec // far below
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
func (l *Layout) withRemedy(err error) error {
	switch {
	case store.IsNotClustered(err):
		return &engine.ConfigError{Err: fmt.Errorf("%w: a single server cannot keep %d replicas; lower --buffer-replicas to 1, or use a cluster", err, l.Replicas)}
	case store.IsTooFewServers(err):
		return fmt.Errorf("%w: %d servers of the cluster must have JetStream and %d bytes of storage", err, l.Replicas, l.Limits.Total())
	}
	return err
}

// configs are the settings of all streams, in the order of [Streams].
func (l *Layout) configs() []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		l.config(KindBatch, l.Limits.Batches), l.config(KindRemainder, l.Limits.Remainders), l.config(KindDeadLetter, l.Limits.DeadLetters),
		l.finishedConfig(), l.objectsConfig(), l.stateConfig(),
	}
}

// Open finds or creates the streams.
func (l *Layout) Open(ctx context.Context, s *store.Store) (opened Streams, err error) {
	streams := []*jetstream.Stream{&opened.Batches, &opened.Remainders, &opened.Dead, &opened.Finished, &opened.Objects, &opened.State}
	for i, config := range l.configs() {
		if *streams[i], err = l.ensureStream(ctx, s, config); err != nil {
			return opened, err
		}
	}
	return opened, nil
}

// CheckServer refuses a server that is too old, whose messages are too small, or that has no JetStream.
func CheckServer(ctx context.Context, s *store.Store, minPayload int64) error {
	if version := s.Conn.ConnectedServerVersion(); store.OlderThan(version, oldestServer) {
		return &engine.ConfigError{Err: fmt.Errorf("the server is NATS %s, and must be NATS %s or newer", version, oldestServer)}
	}
	if s.Conn.MaxPayload() < minPayload {
		return &engine.ConfigError{Err: fmt.Errorf("the server's max_payload must be at least %d bytes", minPayload)}
	}
	if has, _ := s.Conn.ConnectedServerJetStream(); has {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.Attempt)
	defer cancel()
	if _, err := s.JetStream.AccountInfo(ctx); errors.Is(err, jetstream.ErrJetStreamNotEnabled) { // others of its cluster may have it
		return errNoJetStream
	}
	return nil
}

// errNoJetStream passes when the server is configured, or those of its cluster that have JetStream are started.
var errNoJetStream = errors.New("the NATS server has no JetStream: enable it (jetstream {} in its configuration, or -js), or start the servers that have it")
