package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// DefaultName begins the names of streams and subjects.
	DefaultName = "mandrill"
	// duplicateWindow covers Mandrill's retries: 20, up to 25 minutes apart, and some hours in which we do not answer.
	duplicateWindow = 12 * time.Hour
	// maxMessage keeps what has to be in memory at once small. What is larger is taken apart.
	maxMessage = 8 << 20
	// messageReserve is for the headers of a message.
	messageReserve = 16 << 10
	// seenBytes is room for the identities of a million finished batches.
	seenBytes = 128 << 20
	// stateBytes is room for a few names.
	stateBytes = 4 << 20
)

// ConfigError says that a stream has settings under which data would be lost. It does not pass by itself.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

// Limits say how much is stored.
type Limits struct {
	Batches     int64 // that wait
	Rest        int64 // what is left of batches of which a part was delivered
	Large       int64 // events that do not fit into a message
	DeadLetters int64
	Seen        int64 // identities of batches that were finished
}

// MinBytes is the least that a buffer can be made of.
const MinBytes = 64 << 20

// Divide makes limits of a total. With deadLetters 0 these get a tenth.
func Divide(total, deadLetters int64) (Limits, error) {
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
	left := total - deadLetters - seen - stateBytes
	rest, large := left/6, left/4
	return Limits{Batches: left - rest - large, Rest: rest, Large: large, DeadLetters: deadLetters, Seen: seen}, nil
}

func (l Limits) total() int64 {
	return l.Batches + l.Rest + l.Large + l.DeadLetters + l.Seen + stateBytes
}

// subjects of what is stored: a kind, and the webhook.
const (
	kindBatch = "batch"
	kindRest  = "rest"
	kindSeen  = "seen"
	kindDead  = "dead"
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

// open makes or checks the streams.
func (j *Journal) open(ctx context.Context, conn *nats.Conn) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // a cluster that starts has no leader for some seconds
	defer cancel()
	stream, err := jetstream.New(conn, jetstream.WithDefaultTimeout(requestTimeout))
	if err != nil {
		return nil, fmt.Errorf("using JetStream: %w", err)
	}
	s := &session{conn: conn, stream: stream, maxMessage: min(maxMessage, int(conn.MaxPayload())-messageReserve)}
	if s.maxMessage < messageReserve {
		return nil, &ConfigError{fmt.Errorf("the server's max_payload must be at least %d bytes", 2*messageReserve)}
	}
	if s.batches, err = j.stream(ctx, stream, j.config(kindBatch, j.limits.Batches)); err != nil {
		return nil, err
	}
	if s.rest, err = j.stream(ctx, stream, j.config(kindRest, j.limits.Rest)); err != nil {
		return nil, err
	}
	if s.dead, err = j.stream(ctx, stream, j.config(kindDead, j.limits.DeadLetters)); err != nil {
		return nil, err
	}
	seen := j.config(kindSeen, j.limits.Seen) // forgets, which at worst means that a batch is delivered twice
	seen.Discard, seen.MaxAge, seen.MaxMsgsPerSubject, seen.Duplicates, seen.AllowAtomicPublish = jetstream.DiscardOld, duplicateWindow, 1, time.Minute, false
	if s.seen, err = j.stream(ctx, stream, seen); err != nil {
		return nil, err
	}
	s.large, err = stream.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{
		Bucket: j.name + "-large", Storage: jetstream.FileStorage, MaxBytes: j.limits.Large, Replicas: j.replicas,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the store of large events: %w", j.hint(err))
	}
	s.state, err = stream.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: j.name + "-state", Storage: jetstream.FileStorage, MaxBytes: stateBytes, Replicas: j.replicas,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the store of the buffer's state: %w", j.hint(err))
	}
	return s, nil
}

// stream makes a stream, or checks the one that there is. Its limit follows ours, but not below what is stored.
func (j *Journal) stream(ctx context.Context, stream jetstream.JetStream, want jetstream.StreamConfig) (jetstream.Stream, error) {
	found, err := stream.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if found, err = stream.CreateStream(ctx, want); err != nil {
			return nil, fmt.Errorf("creating the stream %s: %w", want.Name, j.hint(err))
		}
		return found, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the stream %s: %w", want.Name, err)
	}
	info := found.CachedInfo()
	if faults := faultsOf(info.Config, want); len(faults) > 0 {
		return nil, &ConfigError{fmt.Errorf("the stream %s would lose data: %s; change its settings, or remove it when it is empty", want.Name, strings.Join(faults, "; "))}
	}
	if !j.engine.Alone() || info.Config.MaxBytes == want.MaxBytes || int64(info.State.Bytes) > want.MaxBytes { //nolint:gosec // far below
		return found, nil
	}
	changed := info.Config
	changed.MaxBytes = want.MaxBytes
	if found, err = stream.UpdateStream(ctx, changed); err != nil {
		return nil, fmt.Errorf("changing the limit of the stream %s: %w", want.Name, err)
	}
	return found, nil
}

// hint says what to do about an error of a cluster.
func (j *Journal) hint(err error) error {
	if api := new(jetstream.APIError); errors.As(err, &api) && j.replicas > 1 && api.Code == 400 {
		return fmt.Errorf("%w: the cluster must have %d servers with JetStream", err, j.replicas)
	}
	return err
}

// faultsOf are the settings of a stream under which data would be lost.
func faultsOf(have, want jetstream.StreamConfig) []string {
	var faults []string
	fault := func(bad bool, text string) {
		if bad {
			faults = append(faults, text)
		}
	}
	owed := want.Discard == jetstream.DiscardNew
	fault(have.Storage != jetstream.FileStorage, "storage must be file")
	fault(have.Retention != jetstream.LimitsPolicy, "retention must be limits")
	fault(owed && have.Discard != jetstream.DiscardNew, "discard must be new")
	fault(owed && have.MaxAge != 0, "max_age must be unlimited")
	fault(have.MaxMsgs > 0, "max_msgs must be unlimited")
	fault(owed && have.MaxMsgsPerSubject > 0, "max_msgs_per_subject must be unlimited")
	fault(have.MaxMsgSize > 0, "max_msg_size must be unlimited")
	fault(have.NoAck, "no_ack must be off")
	fault(have.Sealed || have.DenyDelete, "deletion must be allowed")
	fault(have.Mirror != nil || len(have.Sources) > 0, "it must be no mirror, and have no sources")
	fault(have.SubjectTransform != nil, "it must have no subject transform")
	fault(owed && have.Duplicates < duplicateWindow, "duplicate_window must be at least "+duplicateWindow.String())
	fault(want.AllowAtomicPublish && !have.AllowAtomicPublish, "allow_atomic must be on")
	fault(have.PersistMode != want.PersistMode, "persist_mode must be default")
	fault(have.Replicas > 1 && have.AllowDirect, "allow_direct must be off, because replicas may lag behind")
	fault(len(have.Subjects) != 1 || have.Subjects[0] != want.Subjects[0], "its subject must be "+want.Subjects[0])
	return faults
}
