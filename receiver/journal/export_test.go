package journal

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// WithoutRemoval runs do while dead letters cannot be removed, as if the process had crashed before.
func WithoutRemoval(j *Journal, do func()) {
	s := j.current.Load()
	broken := *s
	broken.dead = unremovable{s.dead}
	j.current.Store(&broken)
	defer j.current.Store(s)
	do()
}

type unremovable struct{ jetstream.Stream }

func (unremovable) DeleteMsg(context.Context, uint64) error { return errors.New("crashed") }

// Objects are the large events that are kept, each with what is another one when it is written again.
func Objects(t *testing.T, j *Journal) (names []string) {
	t.Helper()
	list, err := j.current.Load().objectStore.List(t.Context())
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		t.Fatal(err)
	}
	for _, object := range list {
		names = append(names, object.Name+" "+object.NUID)
	}
	return names
}

// FaultsOf is what is wrong with a stream.
var FaultsOf = faultsOf

// ObjectBytes is what large events take, those too that are not complete.
func ObjectBytes(t *testing.T, j *Journal) uint64 {
	t.Helper()
	status, err := j.current.Load().objectStore.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return status.Size()
}

// SweepEvery has a journal that does not run yet sweep more often.
func SweepEvery(j *Journal, interval time.Duration) { j.sweepInterval = interval }

// Abandon leaves what a process does that ends while it appends a large event: an object, and a part of another one.
func Abandon(t *testing.T, j *Journal, raw []byte) error {
	t.Helper()
	s := j.current.Load()
	_, err := s.putLargeEvent(t.Context(), &StoredBatch{Batch: "abandoned"}, raw)
	if err == nil {
		_, err = s.stream.Publish(t.Context(), "$O."+j.bucket(kindObjects)+".C.abandoned", raw)
	}
	return err
}

// ForgetStored forgets up to where messages were stored together.
func ForgetStored(t *testing.T, j *Journal) {
	t.Helper()
	if err := j.current.Load().stateStream.Purge(t.Context(), jetstream.WithPurgeSubject("$KV."+j.bucket(kindState)+"."+storedKey+">")); err != nil {
		t.Fatal(err)
	}
}

// ObjectMessages is how many messages large events are of.
func ObjectMessages(t *testing.T, j *Journal) uint64 {
	t.Helper()
	info, err := j.current.Load().objects.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

// StateMessages is how many messages the buffer's state is of.
func StateMessages(t *testing.T, j *Journal) uint64 {
	t.Helper()
	info, err := j.current.Load().stateStream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

// StateRoom is nil if the holder of the right to deliver can still say so.
func StateRoom(ctx context.Context, j *Journal) error {
	_, err := j.current.Load().state.PutString(ctx, leaseKey, j.holder)
	return err
}

// LooseBut looks for large events that nothing refers to as if the server did not hand over some messages of each stream.
func LooseBut(ctx context.Context, w *Consumer, missing int) (int, error) {
	loose, err := w.unreferenced(ctx, func(ctx context.Context, stream jetstream.Stream, each func(uint64, nats.Header)) error {
		left := missing
		return w.headers(ctx, stream, func(seq uint64, header nats.Header) {
			if left--; left < 0 {
				each(seq, header)
			}
		})
	}, true)
	return len(loose), err
}
