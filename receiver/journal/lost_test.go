package journal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

const batchStream = "mandrill-batch"

// checkpointOf reads what the checkpoint of a buffer claims.
func checkpointOf(t *testing.T, dir string) (claim struct {
	Streams map[string]struct {
		LastSeq, Messages uint64
		Quiet             bool
	}
	Finished uint64
	Stopped  bool
}) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err == nil {
		err = json.Unmarshal(data, &claim)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claim
}

// awaitCheckpoint waits until the checkpoint has some batches.
func awaitCheckpoint(t *testing.T, dir string, batches uint64) {
	t.Helper()
	deadline := time.After(patience)
	for tick := time.Tick(20 * time.Millisecond); checkpointOf(t, dir).Streams["batches"].Messages != batches; <-tick {
		select {
		case <-deadline:
			t.Fatalf("there is no checkpoint with %d batches", batches)
		default:
		}
	}
}

// cutAtRecord cuts a file of messages at the end of a message, about in the middle.
func cutAtRecord(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for at < len(data)/2 {
		at += int(binary.LittleEndian.Uint32(data[at:]) &^ (1 << 31))
	}
	if err := os.Truncate(path, int64(at)); err != nil {
		t.Fatal(err)
	}
}

// copyDir copies the files of a buffer, as a process that is killed leaves them.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func waitingBatches(o *opened, webhook string) (count uint64) {
	for from := uint64(0); ; count++ {
		found := o.next(webhook, from)
		if found == nil {
			return count
		}
		from = found.Position.Seq + 1
	}
}

// appendOther stores a batch of another webhook and returns its sequence.
func (o *opened) appendOther() uint64 {
	o.append(batch("shop/other", "1"))
	return o.next("shop/other", 0).Position.Seq
}

// Batches that were acknowledged and vanish with a file are counted, whatever vanishes and however the receiver ended. The next
// start finds nothing new, and still shows them.
func TestBatchesThatVanishAreCounted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := open(t, dir, journal.MinBytes)
	const stored, delivered = 20, 5
	for i := range stored {
		o.append(batch("shop/a", strconv.Quote(letters(200)+strconv.Itoa(i))))
	}
	for range delivered {
		o.ack(o.next("shop/a", 0))
	}
	const waiting = stored - delivered
	awaitCheckpoint(t, dir, waiting)
	ended := map[string]string{"killed": copyDir(t, dir)}
	o.stop()
	ended["stopped"] = dir
	block := func(dir string) string { return filepath.Join(streamFolder(dir, batchStream), "msgs", "1.blk") }
	for name, harm := range map[string]func(t *testing.T, dir string) error{
		"nothing":                func(*testing.T, string) error { return nil },
		"an empty file":          func(_ *testing.T, dir string) error { return os.Truncate(block(dir), 0) },
		"a missing file":         func(_ *testing.T, dir string) error { return os.Remove(block(dir)) },
		"a cut between messages": func(t *testing.T, dir string) error { cutAtRecord(t, block(dir)); return nil },
		"a cut in a message":     func(_ *testing.T, dir string) error { return os.Truncate(block(dir), 4000) },
		"a missing stream":       func(_ *testing.T, dir string) error { return os.RemoveAll(streamFolder(dir, batchStream)) },
		"a missing store":        func(_ *testing.T, dir string) error { return os.RemoveAll(filepath.Join(dir, "nats")) },
	} {
		for end, from := range ended {
			t.Run(name+", "+end, func(t *testing.T) {
				t.Parallel()
				dir := copyDir(t, from)
				if err := harm(t, dir); err != nil {
					t.Fatal(err)
				}
				o := open(t, dir, journal.MinBytes)
				left := waitingBatches(o, "shop/a")
				if last := o.appendOther(); left == 0 && last <= stored {
					t.Errorf("a new batch has the sequence %d again", last)
				}
				var want map[string]uint64
				if left < waiting {
					want = map[string]uint64{"batches": waiting - left}
				}
				if diff := cmp.Diff(want, o.Lost()); diff != "" || (name == "nothing") != (want == nil) {
					t.Errorf("%d of %d are left (-want +got):\n%s", left, waiting, diff)
				}
				o.stop()
				if diff := cmp.Diff(want, open(t, dir, journal.MinBytes).Lost()); diff != "" {
					t.Errorf("after another start (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// Dead letters and remainders that vanish are counted, too: their number is claimed while none is removed.
func TestDeadLettersAndRemaindersThatVanishAreCounted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := open(t, dir, journal.MinBytes)
	for i := range 4 {
		o.deadLetter("shop/a", strconv.Itoa(i), journal.ReasonRefused)
	}
	o.append(batch("shop/b", "1", "2"))
	o.work(func(ctx context.Context, c *journal.Consumer) {
		whole, err := c.Next(ctx, "shop/b", 0)
		if err == nil {
			_, err = c.Requeue(ctx, whole, []journal.PendingEvent{{ID: "2", Raw: []byte("2")}})
		}
		if err != nil {
			t.Error(err)
		}
	})
	deadline := time.After(patience)
	for tick := time.Tick(20 * time.Millisecond); checkpointOf(t, dir).Streams["dead_letters"].Messages != 4 || checkpointOf(t, dir).Streams["remainders"].Messages != 1; <-tick {
		select {
		case <-deadline:
			t.Fatal("there is no checkpoint")
		default:
		}
	}
	killed := copyDir(t, dir)
	o.stop()
	for _, from := range []string{killed, dir} {
		dir := copyDir(t, from)
		for _, stream := range []string{"mandrill-dead-letter", "mandrill-remainder"} {
			if err := os.RemoveAll(streamFolder(dir, stream)); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(map[string]uint64{"dead_letters": 4, "remainders": 1}, open(t, dir, journal.MinBytes).Lost()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// What is removed is not lost, however the process ends: a claim is withdrawn before a removal, and batches leave their ids.
func TestRemovedMessagesAreNotLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := open(t, dir, journal.MinBytes)
	for i := range 4 {
		o.deadLetter("shop/a", strconv.Itoa(i), journal.ReasonRefused)
		o.append(batch("shop/b", strconv.Itoa(i)))
	}
	awaitCheckpoint(t, dir, 4)
	if !checkpointOf(t, dir).Streams["dead_letters"].Quiet {
		t.Error("the number of dead letters is not claimed")
	}
	if done, err := o.Purge(t.Context(), journal.Selection{Seqs: []uint64{1, 3}}); err != nil || done.Count != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	if checkpointOf(t, dir).Streams["dead_letters"].Quiet {
		t.Error("the number of dead letters is still claimed")
	}
	claimed := copyDir(t, dir) // an old checkpoint is as good as one of just before a kill
	for range 3 {
		o.ack(o.next("shop/b", 0))
	}
	old, err := os.ReadFile(filepath.Join(claimed, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	killed := copyDir(t, dir)
	if err := os.WriteFile(filepath.Join(killed, "checkpoint"), old, 0o600); err != nil {
		t.Fatal(err)
	}
	if lost := open(t, killed, journal.MinBytes).Lost(); lost != nil {
		t.Errorf("%v are lost", lost)
	}
}

// A volume that was wiped, or restored as a whole, raises no alarm. A store that was restored without its checkpoint does, until
// somebody removes the checkpoint.
func TestRestoredBufferRaisesNoAlarm(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := open(t, dir, journal.MinBytes)
	o.append(batch("shop/a", "1"))
	o.stop()
	backup := copyDir(t, dir)
	o = open(t, dir, journal.MinBytes)
	o.append(batch("shop/a", "2"))
	o.stop()
	if lost := open(t, t.TempDir(), journal.MinBytes).Lost(); lost != nil {
		t.Errorf("wiped: %v", lost)
	}
	if lost := open(t, copyDir(t, backup), journal.MinBytes).Lost(); lost != nil {
		t.Errorf("restored as a whole: %v", lost)
	}
	replace := func(dir string) string {
		if err := os.RemoveAll(filepath.Join(dir, "nats")); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(dir, "nats"), os.DirFS(filepath.Join(backup, "nats"))); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	if diff := cmp.Diff(map[string]uint64{"batches": 1}, open(t, replace(copyDir(t, dir)), journal.MinBytes).Lost()); diff != "" {
		t.Errorf("the store alone (-want +got):\n%s", diff)
	}
	without := replace(copyDir(t, dir))
	if err := os.Remove(filepath.Join(without, "checkpoint")); err != nil {
		t.Fatal(err)
	}
	if lost := open(t, without, journal.MinBytes).Lost(); lost != nil {
		t.Errorf("without its checkpoint: %v", lost)
	}
}

// A loss is forgotten after a day, and is one line of the log with numbers.
func TestLossIsLoggedAndForgottenAfterADay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := open(t, dir, journal.MinBytes)
	o.append(batch("shop/a", "1"))
	o.stop()
	if err := os.RemoveAll(streamFolder(dir, batchStream)); err != nil {
		t.Fatal(err)
	}
	limits, err := journal.SplitLimits(journal.MinBytes, 0)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	openAt := func(now time.Time) map[string]uint64 {
		log.Reset()
		logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))
		o := run(t, journal.New(journal.Options{
			Engine: &engine.Embedded{Dir: dir, Reserve: smallReserve, Logger: logger}, Limits: limits, Logger: logger, Now: func() time.Time { return now },
		}))
		defer o.stop()
		return o.Lost()
	}
	now := time.Now()
	if lost := openAt(now); lost["batches"] != 1 || !bytes.Contains(log.Bytes(), []byte(`"stream":"batches","lost":1,"messages":0,"messagesBefore":1`)) {
		t.Errorf("lost %v, log: %s", lost, log.Bytes())
	}
	if lost := openAt(now.Add(23 * time.Hour)); lost["batches"] != 1 || log.Len() > 0 {
		t.Errorf("on the next day: lost %v, log: %s", lost, log.Bytes())
	}
	if lost := openAt(now.Add(25 * time.Hour)); lost != nil || log.Len() > 0 {
		t.Errorf("a day later: lost %v, log: %s", lost, log.Bytes())
	}
}
