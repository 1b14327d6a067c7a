package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

const (
	// DefaultName begins the names of streams and subjects.
	DefaultName = "mandrill"
	// duplicateWindow covers Mandrill's retries: 20, up to 25 minutes apart, and some hours in which we do not answer.
	duplicateWindow = 12 * time.Hour
	// maxMessage is the largest message. Larger batches are split.
	maxMessage = engine.MaxPayload
	// messageReserve is for the headers of a message.
	messageReserve = 16 << 10
	// seenBytes is room for the identities of a million finished batches.
	seenBytes = 128 << 20
	// stateBytes is room for a few names.
	stateBytes = 4 << 20
)

// ConfigError means that a stream or an engine has settings under which data would be lost. Retrying does not help.
type ConfigError = engine.ConfigError

// Limits say how much is stored.
type Limits struct {
	Batches     int64 // that wait
	Remainders  int64 // what is left of batches of which a part was delivered
	Objects     int64 // events that do not fit into a message
	DeadLetters int64
	Finished    int64 // identities of batches that were finished
	Reserve     int64 // of the volume, so that what is stored can be taken away
}

// MinBytes is the least that a buffer can be made of.
const MinBytes = 64 << 20

// Divide makes limits of a total. With deadLetters 0 these get a tenth.
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
	seen := min(seenBytes, total/20)
	reserve := engine.ReserveFor(total)
	left := total - deadLetters - seen - stateBytes - reserve
	rest, large := left/6, left/4
	return Limits{Batches: left - rest - large, Remainders: rest, Objects: large, DeadLetters: deadLetters, Finished: seen, Reserve: reserve}, nil
}

func (l Limits) total() int64 {
	return l.Batches + l.Remainders + l.Objects + l.DeadLetters + l.Finished + stateBytes
}

// subjects of what is stored: a kind, and the webhook.
const (
	kindBatch     = "batch"
	kindRemainder = "rest"
	kindFinished  = "seen"
	kindDead      = "dead"
	kindObjects   = "large"
	kindState     = "state"
)

func (j *Journal) subject(kind, name string) string { return j.name + "." + kind + "." + name }

// token makes one part of a subject of a webhook's name.
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

// config of a stream under which nothing is lost: what does not fit is refused, and nothing ages.
func (j *Journal) config(kind string, limit int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: j.name + "-" + kind, Subjects: []string{j.subject(kind, ">")}, Storage: jetstream.FileStorage,
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, MaxBytes: limit, MaxMsgs: -1, MaxMsgsPerSubject: -1,
		Replicas: j.replicas, Duplicates: duplicateWindow, AllowAtomicPublish: true,
		// A replica may lag behind: only of one that is alone it is known that what it says is so.
		AllowDirect: j.replicas == 1,
	}
}

// seenConfig is of a stream that forgets, which at worst means that a batch is delivered twice.
func (j *Journal) finishedConfig() jetstream.StreamConfig {
	config := j.config(kindFinished, j.limits.Finished)
	config.Discard, config.MaxAge, config.MaxMsgsPerSubject = jetstream.DiscardOld, duplicateWindow, 1
	config.Duplicates, config.AllowAtomicPublish = time.Minute, false
	return config
}

// largeConfig and stateConfig are of streams as the client makes them for objects and for values by key, but for
// AllowDirect, which it always sets.
func (j *Journal) objectsConfig() jetstream.StreamConfig {
	config := j.config("", j.limits.Objects)
	config.Name, config.Subjects = "OBJ_"+j.bucket(kindObjects), []string{"$O." + j.bucket(kindObjects) + ".C.>", "$O." + j.bucket(kindObjects) + ".M.>"}
	config.Duplicates, config.AllowAtomicPublish, config.AllowRollup = 0, false, true
	return config
}

func (j *Journal) stateConfig() jetstream.StreamConfig {
	config := j.config("", stateBytes)
	config.Name, config.Subjects = "KV_"+j.bucket(kindState), []string{"$KV." + j.bucket(kindState) + ".>"}
	config.Duplicates, config.AllowAtomicPublish, config.AllowRollup = 0, false, true
	config.MaxMsgsPerSubject, config.DenyDelete = 1, true
	return config
}

func (j *Journal) bucket(kind string) string { return j.name + "-" + kind }

// open makes or checks the streams.
func (j *Journal) open(ctx context.Context, connection *engine.Connection) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // a cluster that starts has no leader for some seconds
	defer cancel()
	timeout := requestTimeout
	if !connection.Exclusive {
		timeout = clusterTimeout
	}
	conn := connection.Conn
	stream, err := jetstream.New(conn, jetstream.WithDefaultTimeout(timeout))
	if err != nil {
		return nil, fmt.Errorf("using JetStream: %w", err)
	}
	s := &session{
		conn: conn, stream: stream, timeout: timeout, leaseTime: j.leaseTime, maxMessage: min(maxMessage, int(conn.MaxPayload())-messageReserve), unreadable: new(atomic.Bool),
		alone: connection.Exclusive, disk: connection.Reserve, isPartitioned: connection.Partitioned, syncStreamDir: connection.SyncDir,
	}
	if s.maxMessage < messageReserve {
		return nil, &ConfigError{Err: fmt.Errorf("the server's max_payload must be at least %d bytes", 2*messageReserve)}
	}
	for _, each := range []struct {
		is     *jetstream.Stream
		config jetstream.StreamConfig
	}{
		{&s.batches, j.config(kindBatch, j.limits.Batches)},
		{&s.remainders, j.config(kindRemainder, j.limits.Remainders)},
		{&s.dead, j.config(kindDead, j.limits.DeadLetters)},
		{&s.finished, j.finishedConfig()},
		{&s.objects, j.objectsConfig()},
		{&s.stateStream, j.stateConfig()},
	} {
		if *each.is, err = j.ensureStream(ctx, s, each.config); err != nil {
			return nil, err
		}
	}
	bounded, end := s.withTimeout(ctx)
	defer end()
	if s.objectStore, err = stream.ObjectStore(bounded, j.bucket(kindObjects)); err != nil {
		return nil, fmt.Errorf("opening the store of large events: %w", err)
	}
	if s.state, err = stream.KeyValue(bounded, j.bucket(kindState)); err != nil {
		return nil, fmt.Errorf("opening the store of the buffer's state: %w", err)
	}
	if s.secretKey, err = s.identitySecret(ctx); err != nil {
		return nil, err
	}
	if connection.SyncDirs != nil {
		if err := connection.SyncDirs(); err != nil {
			return nil, err
		}
	}
	if err := j.removeTornBatches(ctx, s); err != nil {
		return nil, err
	}
	j.gcAtStart(ctx, s)
	return s, nil
}

// stream makes a stream, or checks the one that there is. A cluster that has just started has no leader who could, and
// does not answer who asks for a stream that is being made.
func (j *Journal) ensureStream(ctx context.Context, s *session, want jetstream.StreamConfig) (jetstream.Stream, error) {
	limit := attemptTimeout
	if s.alone {
		limit = requestTimeout
	}
	for {
		attempt, cancel := context.WithTimeout(ctx, limit)
		found, err := j.findOrCreate(attempt, s.stream, want)
		cancel()
		if err == nil || s.alone || !isNoLeader(err) || ctx.Err() != nil {
			return found, err
		}
		select {
		case <-time.After(minPause):
		case <-ctx.Done():
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
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another has just made it
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
	if faults := faultsOf(info.Config, want); len(faults) > 0 {
		return nil, &ConfigError{Err: fmt.Errorf("the stream %s would lose data: %s; change its settings, or remove it when it is empty", want.Name, strings.Join(faults, "; "))}
	}
	// Its limit follows ours, but not below what is stored.
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

// leaderless tells whether nobody could decide, which passes.
func isNoLeader(err error) bool {
	api := new(jetstream.APIError)
	if errors.As(err, &api) {
		return api.ErrorCode == codeUnavailable || api.ErrorCode == codeNoPeers || api.ErrorCode == codeNotLeader
	}
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) { // of which the client leaves only the words
		return strings.Contains(err.Error(), "err_code="+strconv.Itoa(codeUnavailable))
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, jetstream.ErrNoStreamResponse)
}

// hint says what to do about an error of a cluster.
func (j *Journal) withRemedy(err error) error {
	api := new(jetstream.APIError)
	switch {
	case !errors.As(err, &api):
		return err
	case api.ErrorCode == codeNotClustered:
		return &ConfigError{Err: fmt.Errorf("%w: the server is alone and cannot keep %d replicas; lower --buffer-replicas to 1, or use a cluster", err, j.replicas)}
	case api.ErrorCode == codeNoPeers:
		return fmt.Errorf("%w: %d servers of the cluster must have JetStream and room for %d bytes", err, j.replicas, j.limits.total())
	}
	return err
}

// faultsOf are the settings of a stream under which data would be lost, or kept from being stored.
func faultsOf(have, want jetstream.StreamConfig) []string {
	var faults []string
	fault := func(bad bool, text string) {
		if bad {
			faults = append(faults, text)
		}
	}
	fault(have.Storage != jetstream.FileStorage, "storage must be file")
	fault(have.Retention != jetstream.LimitsPolicy, "retention must be limits")
	fault(want.Discard == jetstream.DiscardNew && have.Discard != jetstream.DiscardNew, "discard must be new")
	fault(have.MaxAge != 0 && want.MaxAge == 0, "max_age must be unlimited")
	fault(have.MaxAge != 0 && have.MaxAge < want.MaxAge, "max_age must be at least "+want.MaxAge.String())
	fault(have.MaxMsgs > 0, "max_msgs must be unlimited")
	fault(have.MaxMsgsPerSubject > 0 && want.MaxMsgsPerSubject < 0, "max_msgs_per_subject must be unlimited")
	fault(have.MaxMsgsPerSubject < 1 && want.MaxMsgsPerSubject == 1, "max_msgs_per_subject must be 1")
	fault(have.MaxMsgSize > 0, "max_msg_size must be unlimited")
	fault(have.MaxConsumers > 0, "max_consumers must be unlimited")
	fault(have.NoAck, "no_ack must be off")
	fault(have.Sealed || have.DenyDelete && !want.DenyDelete || have.DenyPurge, "deletion must be allowed")
	fault(have.Mirror != nil || len(have.Sources) > 0, "it must be no mirror, and have no sources")
	fault(have.SubjectTransform != nil, "it must have no subject transform")
	fault(have.Duplicates < want.Duplicates, "duplicate_window must be at least "+want.Duplicates.String())
	fault(want.AllowAtomicPublish && !have.AllowAtomicPublish, "allow_atomic must be on, for which the server must be NATS 2.12 or newer")
	fault(want.AllowRollup && !have.AllowRollup, "allow_rollup_hdrs must be on")
	fault(have.PersistMode != want.PersistMode, "persist_mode must be default")
	fault(have.Replicas < want.Replicas, fmt.Sprintf("num_replicas must be at least %d, or --buffer-replicas lower", want.Replicas))
	fault(have.Replicas > 1 && have.AllowDirect, "allow_direct must be off, because replicas may lag behind")
	fault(!slices.Equal(slices.Sorted(slices.Values(have.Subjects)), want.Subjects), "its subjects must be "+strings.Join(want.Subjects, " and "))
	return faults
}
