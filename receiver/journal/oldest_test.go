package journal_test

import (
	"testing"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/partition"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// The oldest server that is supported does everything that the journal needs.
func TestOldestServer(t *testing.T) {
	t.Parallel()
	t.Run("consumer", func(t *testing.T) {
		t.Parallel()
		journaltest.TestConsumer(t, func(t *testing.T) journaltest.Buffer {
			options, _ := shared(t, journaltest.OldestServer(t))
			return contractBuffer(run(t, journal.New(options)))
		})
	})
	t.Run("parts, objects and redrive", func(t *testing.T) {
		t.Parallel()
		options, _ := shared(t, journaltest.OldestServer(t))
		testSmallPayload(t, run(t, journal.New(options)))
	})
	t.Run("garbage collection", func(t *testing.T) {
		t.Parallel()
		options, _ := shared(t, journaltest.OldestServer(t))
		testGC(t, journal.New(options))
	})
	t.Run("two members", func(t *testing.T) {
		t.Parallel()
		options, _ := shared(t, journaltest.OldestServer(t))
		a, b := run(t, journal.New(options)), run(t, journal.New(options))
		l := newLedger(t)
		stop := l.deliver("a", a.Journal)
		until(t, "delivery", func() bool { return l.begun() == 1 })
		l.deliver("b", b.Journal)
		w := load(t, a.Journal, b.Journal)
		w.progress(20)
		stop()
		until(t, "the other takes over", func() bool { return l.who() == "b" })
		w.progress(20)
		l.expect(w.stop())
	})
	t.Run("three members with partitions", func(t *testing.T) {
		t.Parallel()
		options, _ := shared(t, journaltest.OldestServer(t))
		options.Partitions = partition.Count
		testShares(t, options)
	})
	t.Run("full", func(t *testing.T) {
		t.Parallel()
		options, _ := shared(t, journaltest.OldestServer(t))
		options.Limits, _ = journal.SplitLimits(journal.MinBytes, 0)
		testFull(t, run(t, journal.New(options)))
	})
}

func TestOlderThan(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"2.9.25": true, "1.99": true, "2.10.0": false, "2.10.27-RC.1": false, "2.15.2": false, "3.0.0": false, "": false, "development": false,
	} {
		if got := store.OlderThan(version, "2.10"); got != want {
			t.Errorf("%q is older: %t", version, got)
		}
	}
}
