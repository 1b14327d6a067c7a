package quarantine_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/quarantine"
)

func batch(seq uint64) quarantine.Key { return quarantine.Key{Seq: seq} }

// bucketValue is a value of the buffer's state.
type bucketValue struct {
	mu     sync.Mutex
	data   []byte
	writes int
}

func (v *bucketValue) get(context.Context) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return bytes.Clone(v.data), nil
}

func (v *bucketValue) put(data []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.data = data
	v.writes++
	return nil
}

// forEachStorage runs a test with each storage. Start starts a process on it: it opens a record. The process before ends as it is,
// unless its record was cleared.
func forEachStorage(t *testing.T, test func(t *testing.T, start func() (*quarantine.Record, quarantine.Found))) {
	t.Helper()
	fail := func(t *testing.T) func(error) { return func(err error) { t.Error(err) } }
	file := filepath.Join(t.TempDir(), "processing")
	value := &bucketValue{}
	for name, storage := range map[string]func(t *testing.T) quarantine.Storage{
		"file":   func(t *testing.T) quarantine.Storage { return quarantine.NewFile(file, fail(t)) },
		"bucket": func(t *testing.T) quarantine.Storage { return quarantine.NewBucket(value.get, value.put, fail(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, func() (*quarantine.Record, quarantine.Found) {
				record := quarantine.New(storage(t), quarantine.InFile, quarantine.NewTurns())
				found, err := record.Open(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(record.Close)
				return record, found
			})
		})
	}
}

func check(t *testing.T, when string, got, want quarantine.Found) {
	t.Helper()
	slices.SortFunc(got.Poison, func(a, b quarantine.Key) int { return int(a.Seq) - int(b.Seq) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

func TestTwoEndsInARowMakePoison(t *testing.T) {
	t.Parallel()
	forEachStorage(t, func(t *testing.T, start func() (*quarantine.Record, quarantine.Found)) {
		record, found := start()
		check(t, "at first", found, quarantine.Found{})
		record.Begin(batch(1))
		record.End(batch(1))
		record.Begin(batch(2))
		record.Begin(quarantine.Key{Remainder: true, Seq: 2})
		record.Begin(batch(3))

		record, found = start()
		check(t, "after one end", found, quarantine.Found{Suspects: 3})
		record.Begin(batch(3))
		record.End(batch(3))
		record.Begin(batch(4))
		record.End(batch(4))
		record.Begin(batch(2))

		record, found = start()
		check(t, "after two ends", found, quarantine.Found{Poison: []quarantine.Key{batch(2)}, Suspects: 2})
		record.Forget(batch(2))
		record.Clear()
	})
}

// Where a lost lease looks like the end of the process, more ends make poison.
func TestFourEndsInARowMakePoisonInASharedBuffer(t *testing.T) {
	t.Parallel()
	value := &bucketValue{}
	start := func() (*quarantine.Record, quarantine.Found) {
		bucket := quarantine.NewBucket(value.get, value.put, func(err error) { t.Error(err) })
		record := quarantine.New(bucket, quarantine.InSharedBuffer, quarantine.NewTurns())
		found, err := record.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(record.Close)
		return record, found
	}
	record, _ := start()
	record.Begin(batch(1))
	record.Begin(batch(2))
	for end := 1; end < quarantine.InSharedBuffer; end++ {
		var found quarantine.Found
		record, found = start()
		check(t, "after too few ends", found, quarantine.Found{Suspects: 2})
		record.Begin(batch(2)) // it is not in a section at any further end
		record.End(batch(2))
		record, found = start() // an end in which both only wait
		check(t, "after an end in which they wait", found, quarantine.Found{Suspects: 2})
		record.Begin(batch(1))
	}
	record, found := start()
	check(t, "after four ends", found, quarantine.Found{Poison: []quarantine.Key{batch(1)}, Suspects: 1})
	_, found = start()
	check(t, "poison stays known", found, quarantine.Found{Poison: []quarantine.Key{batch(1)}, Suspects: 1})
	record.Forget(batch(1))
}

// An end in which a suspect only waits for its sink, or its turn, proves nothing.
func TestSuspectsThatWaitAreNotPoison(t *testing.T) {
	t.Parallel()
	forEachStorage(t, func(t *testing.T, start func() (*quarantine.Record, quarantine.Found)) {
		record, _ := start()
		record.Begin(batch(1))
		for range 3 {
			_, found := start()
			check(t, "after another end", found, quarantine.Found{Suspects: 1})
		}
	})
}

func TestSurvivorIsNoSuspect(t *testing.T) {
	t.Parallel()
	forEachStorage(t, func(t *testing.T, start func() (*quarantine.Record, quarantine.Found)) {
		record, _ := start()
		record.Begin(batch(1))
		record, _ = start()
		record.Begin(batch(1))
		record.End(batch(1))
		record.Forget(batch(1))
		record.Begin(batch(1))
		_, found := start()
		check(t, "an end after one that it survived", found, quarantine.Found{Suspects: 1})
	})
}

// An orderly stop clears suspicions. Poison that could not be set aside stays known.
func TestOrderlyStopClears(t *testing.T) {
	t.Parallel()
	forEachStorage(t, func(t *testing.T, start func() (*quarantine.Record, quarantine.Found)) {
		record, _ := start()
		record.Begin(batch(1))
		record.Begin(batch(2))
		record, _ = start()
		record.Begin(batch(1))
		record, _ = start()
		record.Clear()
		record.Close()
		record, found := start()
		check(t, "after a stop", found, quarantine.Found{Poison: []quarantine.Key{batch(1)}})
		record.Forget(batch(1))
		record.Clear()
		record.Close()
		_, found = start()
		check(t, "after it was set aside", found, quarantine.Found{})
	})
}

func TestSuspectIsProcessedAlone(t *testing.T) {
	t.Parallel()
	value := &bucketValue{}
	storage := func() quarantine.Storage {
		return quarantine.NewBucket(value.get, value.put, func(err error) { t.Error(err) })
	}
	before := quarantine.New(storage(), quarantine.InFile, quarantine.NewTurns())
	if _, err := before.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	before.Begin(batch(1))
	synctest.Test(t, func(t *testing.T) {
		record := quarantine.New(storage(), quarantine.InFile, quarantine.NewTurns())
		if _, err := record.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		record.Begin(batch(2))
		var suspect, other atomic.Bool
		go func() { record.Begin(batch(1)); suspect.Store(true) }()
		synctest.Wait()
		if suspect.Load() {
			t.Error("a suspect did not wait for another batch")
		}
		go func() { record.Begin(batch(3)); other.Store(true) }()
		synctest.Wait()
		record.End(batch(2))
		synctest.Wait()
		if !suspect.Load() || other.Load() {
			t.Errorf("the suspect has its section: %v; another batch too: %v", suspect.Load(), other.Load())
		}
		record.End(batch(1))
		synctest.Wait()
		if !other.Load() {
			t.Error("another batch waits after the suspect's section")
		}
		record.End(batch(3))
		record.Close()
	})
}

// Many batches at a time have slots of their own.
func TestManyBatchesAtOnce(t *testing.T) {
	t.Parallel()
	forEachStorage(t, func(t *testing.T, start func() (*quarantine.Record, quarantine.Found)) {
		record, _ := start()
		var group sync.WaitGroup
		for seq := range uint64(300) {
			group.Go(func() {
				record.Begin(batch(seq))
				if seq%3 > 0 {
					record.End(batch(seq))
				}
			})
		}
		group.Wait()
		record.Close()
		_, found := start()
		check(t, "of 300", found, quarantine.Found{Suspects: 100})
	})
}

func TestDamagedRecordIsIgnored(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "processing")
	start := func() (*quarantine.Record, quarantine.Found) {
		record := quarantine.New(quarantine.NewFile(path, func(err error) { t.Error(err) }), quarantine.InFile, quarantine.NewTurns())
		found, err := record.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return record, found
	}
	record, _ := start()
	record.Begin(batch(1))
	record.Begin(batch(2))
	record.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"a changed number":  func(data []byte) []byte { data[20]++; return data },
		"a changed state":   func(data []byte) []byte { data[0] = 'A'; return data },
		"an unknown state":  func(data []byte) []byte { data[0] = 'X'; return data },
		"zeros":             func(data []byte) []byte { return append(make([]byte, 32), data[32:]...) },
		"twice in the file": func(data []byte) []byte { copy(data, data[32:64]); return data },
		"cut":               func(data []byte) []byte { return data[32:70] },
	} {
		if err := os.WriteFile(path, damage(bytes.Clone(data)), 0o600); err != nil {
			t.Fatal(err)
		}
		record, found := start()
		check(t, name, found, quarantine.Found{Suspects: 1})
		record.Close()
	}
}

// A record that is not open, is missing, or cannot be written, records nothing and holds nobody up.
func TestRecordThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	failures := 0
	file := func() *quarantine.File {
		return quarantine.NewFile(filepath.Join(t.TempDir(), "missing", "processing"), func(error) { failures++ })
	}
	var missing *quarantine.Record
	unwritable := quarantine.New(file(), quarantine.InFile, quarantine.NewTurns())
	if found, err := unwritable.Open(t.Context()); err != nil || found.Suspects > 0 || failures != 1 {
		t.Errorf("got %+v, %v, %d failures", found, err, failures)
	}
	for _, record := range []*quarantine.Record{missing, quarantine.New(file(), quarantine.InFile, quarantine.NewTurns()), unwritable} {
		record.Begin(batch(1))
		record.Begin(batch(1))
		record.End(batch(1))
		record.Forget(batch(1))
		record.Clear()
		record.Close()
	}
	if found, err := missing.Open(t.Context()); err != nil || found.Suspects > 0 {
		t.Errorf("got %+v, %v", found, err)
	}
}

// Writes that come while one is under way share the next one. One that fails keeps nobody waiting.
func TestBucketSharesWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		value := &bucketValue{}
		goOn, failures := make(chan struct{}), 0
		bucket := quarantine.NewBucket(value.get, func(data []byte) error {
			<-goOn
			_ = value.put(data)
			return errors.New("no answer")
		}, func(error) { failures++ })
		record := quarantine.New(bucket, quarantine.InFile, quarantine.NewTurns())
		if _, err := record.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for seq := range uint64(50) {
			group.Go(func() { record.Begin(batch(seq)) })
		}
		synctest.Wait()
		goOn <- struct{}{}
		goOn <- struct{}{}
		group.Wait()
		if value.writes != 2 || failures != 2 {
			t.Errorf("50 batches took %d writes, and %d failed, want 2", value.writes, failures)
		}
		close(goOn)
		record.End(batch(1))
		record.Close()
	})
}

func BenchmarkSection(b *testing.B) {
	file := quarantine.NewFile(filepath.Join(b.TempDir(), "processing"), func(err error) { b.Error(err) })
	record := quarantine.New(file, quarantine.InFile, quarantine.NewTurns())
	if _, err := record.Open(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		record.Begin(batch(1))
		record.End(batch(1))
	}
}
