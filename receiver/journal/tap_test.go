package journal_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// tap is between a journal and its server. Tests look through it at what is stored, and make operations fail.
type tap struct {
	t       *testing.T
	mu      sync.Mutex
	stream  jetstream.JetStream
	before  func(operation string) error // of "publish SUBJECT" and "delete STREAM"
	hidden  int                          // how many messages of each stream consumers do not get
	lagging int                          // how many reads find nothing
}

// tapped taps a journal that does not run yet.
func tapped(t *testing.T, j *journal.Journal) *tap {
	t.Helper()
	tp := &tap{t: t}
	journal.Intercept(j, func(stream jetstream.JetStream) jetstream.JetStream {
		tp.mu.Lock()
		defer tp.mu.Unlock()
		tp.stream = stream
		return tappedJetStream{stream, tp}
	})
	return tp
}

// on calls before each operation; its error is the operation's.
func (tp *tap) on(before func(operation string) error) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.before = before
}

var errCrashed = errors.New("crashed")

// crashAt fails an operation, counted from one, and all after it, as if the process had died before.
func (tp *tap) crashAt(operation int) {
	count := 0
	tp.on(func(string) error {
		if count++; count >= operation {
			return errCrashed
		}
		return nil
	})
}

// withoutDeletion runs do while nothing can be deleted from a stream, as if the process had died before.
func (tp *tap) withoutDeletion(stream string, do func()) {
	tp.on(func(operation string) error {
		if operation == "delete "+stream {
			return errCrashed
		}
		return nil
	})
	defer tp.on(nil)
	do()
}

// hide hides the first messages of each stream from consumers, as if the server skipped them.
func (tp *tap) hide(messages int) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.hidden = messages
}

// lag makes the next reads of streams find nothing, as if their leaders were behind the replica that announced a message.
func (tp *tap) lag(reads int) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.lagging = reads
}

func (tp *tap) lags() bool {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.lagging--
	return tp.lagging >= 0
}

func (tp *tap) check(operation string) error {
	tp.mu.Lock()
	before := tp.before
	tp.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(operation)
}

func (tp *tap) server() jetstream.JetStream {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return tp.stream
}

// messages is how many messages a stream has.
func (tp *tap) messages(stream string) uint64 {
	tp.t.Helper()
	found, err := tp.server().Stream(tp.t.Context(), stream)
	if err != nil {
		tp.t.Fatal(err)
	}
	return found.CachedInfo().State.Msgs
}

// The streams under the bucket of large events and under that of the state.
const (
	objectStream = "OBJ_mandrill-objects"
	stateStream  = "KV_mandrill-state"
)

// objects are the large events that are stored, each with what changes when it is written again.
func (tp *tap) objects() (names []string) {
	tp.t.Helper()
	store, err := tp.server().ObjectStore(tp.t.Context(), "mandrill-objects")
	if err != nil {
		tp.t.Fatal(err)
	}
	list, err := store.List(tp.t.Context())
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		tp.t.Fatal(err)
	}
	for _, object := range list {
		names = append(names, object.Name+" "+object.NUID)
	}
	return names
}

// abandon leaves what a process does that ends while it appends a large event: an object, and a chunk of another one.
func (tp *tap) abandon(raw []byte) error {
	store, err := tp.server().ObjectStore(tp.t.Context(), "mandrill-objects")
	if err == nil {
		_, err = store.PutBytes(tp.t.Context(), "abandoned", raw)
	}
	if err == nil {
		_, err = tp.server().Publish(tp.t.Context(), "$O.mandrill-objects.C.abandoned", raw)
	}
	return err
}

type tappedJetStream struct {
	jetstream.JetStream
	tap *tap
}

func (j tappedJetStream) PublishMsg(ctx context.Context, msg *nats.Msg, options ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if err := j.tap.check("publish " + msg.Subject); err != nil {
		return nil, err
	}
	return j.JetStream.PublishMsg(ctx, msg, options...)
}

func (j tappedJetStream) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	return j.tap.tapStream(j.JetStream.Stream(ctx, name))
}

func (j tappedJetStream) CreateStream(ctx context.Context, config jetstream.StreamConfig) (jetstream.Stream, error) {
	return j.tap.tapStream(j.JetStream.CreateStream(ctx, config))
}

func (j tappedJetStream) UpdateStream(ctx context.Context, config jetstream.StreamConfig) (jetstream.Stream, error) {
	return j.tap.tapStream(j.JetStream.UpdateStream(ctx, config))
}

func (tp *tap) tapStream(stream jetstream.Stream, err error) (jetstream.Stream, error) {
	if err != nil {
		return nil, err
	}
	return tappedStream{stream, tp}, nil
}

type tappedStream struct {
	jetstream.Stream
	tap *tap
}

func (s tappedStream) DeleteMsg(ctx context.Context, seq uint64) error {
	if err := s.tap.check("delete " + s.CachedInfo().Config.Name); err != nil {
		return err
	}
	return s.Stream.DeleteMsg(ctx, seq)
}

func (s tappedStream) GetMsg(ctx context.Context, seq uint64, options ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	if s.tap.lags() {
		return nil, jetstream.ErrMsgNotFound
	}
	return s.Stream.GetMsg(ctx, seq, options...)
}

func (s tappedStream) CreateConsumer(ctx context.Context, config jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	s.tap.mu.Lock()
	config.OptStartSeq += uint64(s.tap.hidden)
	s.tap.mu.Unlock()
	return s.Stream.CreateConsumer(ctx, config)
}
