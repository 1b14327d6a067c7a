package dispatch_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/quarantine"
)

// endWhileProcessing leaves the record of a process that ended while it processed batches.
func endWhileProcessing(t *testing.T, path string, batches ...uint64) {
	t.Helper()
	record := openRecord(t, path)
	for _, seq := range batches {
		record.Begin(quarantine.Key{Seq: seq})
	}
}

func openRecord(t *testing.T, path string) *quarantine.Record {
	t.Helper()
	record := quarantine.New(quarantine.NewFile(path, func(err error) { t.Error(err) }), quarantine.InFile, quarantine.NewTurns())
	if _, err := record.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return record
}

// usedSlots returns the lines of a record with a batch.
func usedSlots(t *testing.T, path string) (used []string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.TrimSpace(line) != "" {
			used = append(used, line)
		}
	}
	return used
}

// backlogged is a receiver that was stopped with a backlog of three batches of a webhook and one of another one.
func backlogged(t *testing.T) *bufferedReceiver {
	t.Helper()
	b := newBufferedReceiver(t, func(b *bufferedReceiver) {
		b.suspended = map[string]bool{"a": true, "b": true}
		b.webhooks["b"] = b.webhooks["a"]
	})
	for _, batch := range [][]string{{"a", "send 1", "open 2"}, {"a", "open 1", "send 3", "click 2"}, {"b", "send 9"}, {"a", "click 1"}} {
		var raw [][]byte
		for _, event := range batch[1:] {
			raw = append(raw, rawEvent(event))
		}
		// Past the handler, which accepts nothing for a suspended webhook.
		journaltest.Append(t, b.journal, journal.Batch{Webhook: "shop/" + batch[0], Received: time.Now(), Value: mandrilltest.Batch(raw...), Events: raw})
	}
	b.stop()
	b.suspended = nil
	return b
}

// A batch that was being processed at two ends in a row becomes a dead letter, with all that it has. Everything else is delivered, in
// order, and the batch too once it is redriven.
func TestBatchThatEndsTheProcessTwiceIsQuarantined(t *testing.T) {
	t.Parallel()
	b := backlogged(t)
	record := filepath.Join(b.dir, "processing")
	endWhileProcessing(t, record, 1, 2)
	endWhileProcessing(t, record, 2)
	b.start()
	b.sinks.expectAccepted(t, "a send 1", "a open 2", "a click 1", "b send 9")
	letters := b.waitDeadLetters(1)
	if letter := letters[0]; letter.Reason != journal.ReasonQuarantined || letter.Events != 3 || letter.Webhook != "shop/a" || letter.ID == "" {
		t.Errorf("got the dead letter %+v", letter)
	}
	if got := b.metric("mandrill_receiver_dead_lettered_total", journal.ReasonQuarantined); got != 3 {
		t.Errorf("%v events were counted, want 3", got)
	}
	var shown struct {
		Data []map[string]any `json:"data"`
	}
	if status := b.askAdmin(http.MethodGet, "/dead-letters/1", "", &shown); status != http.StatusOK || len(shown.Data) != 3 {
		t.Errorf("status %d, the dead letter has %v", status, shown.Data)
	}
	b.waitEmpty()
	if used := usedSlots(t, record); len(used) > 0 {
		t.Errorf("the record has %q", used)
	}
	if count := b.redrive(`{"all": true}`); count != 1 {
		t.Errorf("redrove %d", count)
	}
	b.sinks.expectAccepted(t, "a send 1", "a open 2", "a click 1", "b send 9", "a open 1", "a send 3", "a click 2")
	if got := b.metric("mandrill_receiver_dead_lettered_total"); got != 3 {
		t.Errorf("%v dead letters were counted after it was redriven, want 3", got)
	}
	b.waitEmpty()
}

// After one abnormal end nothing is set aside, whatever was being processed, and order is kept. An orderly stop clears the record.
func TestOneAbnormalEndQuarantinesNothing(t *testing.T) {
	t.Parallel()
	b := backlogged(t)
	record := filepath.Join(b.dir, "processing")
	endWhileProcessing(t, record, 1, 2, 3, 4)
	b.sinks.setAnswer(failHosts("a"))
	b.start()
	b.sinks.waitFor(t, "an attempt", func(accepted []string, attempts map[string]int) bool {
		return attempts["a send 1"] > 0 && len(accepted) == 1
	})
	b.stop()
	if used := usedSlots(t, record); len(used) > 0 {
		t.Errorf("after a stop the record has %q", used)
	}
	b.sinks.setAnswer(nil)
	b.start()
	b.sinks.expectAccepted(t, "a send 1", "a open 2", "a click 1", "b send 9", "a open 1", "a send 3", "a click 2")
	b.sinks.mu.Lock()
	defer b.sinks.mu.Unlock()
	ofMessage := slices.DeleteFunc(slices.Clone(b.sinks.accepted), func(event string) bool { return !strings.HasPrefix(event, "a ") || !strings.HasSuffix(event, " 1") })
	if diff := cmp.Diff([]string{"a send 1", "a open 1", "a click 1"}, ofMessage); diff != "" {
		t.Errorf("order of a message (-want +got):\n%s", diff)
	}
	if letters := b.deadLetters(); len(letters) > 0 {
		t.Errorf("got the dead letters %+v", letters)
	}
}

// While a batch is read it is in the record, and afterwards no more: also a remainder, a large event, and one that fails.
func TestWhatIsProcessedIsRecorded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "processing")
	large := batchAt(3)
	large.EventCount, large.Value = 1, []byte(`[{"event":"send","_id":"3","text":"`+strings.Repeat("x", 300<<10)+`"}]`)
	consumer := journaltest.NewConsumer(remainderAt(1, 1, "send 1"), batchAt(2, "send 2"), large, batchAt(4, "open 4"))
	consumer.Processed = quarantine.New(quarantine.NewFile(path, func(err error) { t.Error(err) }), quarantine.InFile, quarantine.NewTurns())
	read := make(chan []string, 10)
	consumer.OnNext = func(*journal.StoredBatch) { read <- usedSlots(t, path) }
	sinks := newFakeSinks()
	sinks.setAnswer(func(_, event string, attempt int) error {
		if attempt == 1 && strings.HasPrefix(event, "open") {
			return errSinkDown
		}
		return nil
	})
	failed := startDispatcher(t, consumer, sinks)
	sinks.waitFor(t, "delivery", func(accepted []string, _ map[string]int) bool { return len(accepted) == 4 })
	eventually(t, "the end of the work", func() bool { return len(consumer.Acked()) == 4 })
	for range 3 {
		if used := <-read; len(used) != 1 || !strings.HasPrefix(used[0], "Pb") {
			t.Errorf("while a batch was read the record had %q", used)
		}
	}
	if used := usedSlots(t, path); len(used) > 0 {
		t.Errorf("the record has %q", used)
	}
	select {
	case err := <-failed:
		t.Error(err)
	default:
	}
}

// Poison for which there is no space stays where it is. Nothing else waits for it.
func TestPoisonThatCannotBeStoredIsHeld(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "processing")
	endWhileProcessing(t, path, 2)
	endWhileProcessing(t, path, 2)
	consumer := journaltest.NewConsumer(batchAt(1, "send 1"), batchAt(3, "send 3"))
	consumer.Processed = quarantine.New(quarantine.NewFile(path, func(err error) { t.Error(err) }), quarantine.InFile, quarantine.NewTurns())
	held := make(chan journal.Position, 1)
	consumer.OnSetAside = func(position journal.Position) error { held <- position; return journal.ErrFull }
	ctx, cancel := context.WithCancel(t.Context())
	sinks := newFakeSinks()
	ended := runDispatcher(ctx, t, consumer, sinks)
	sinks.expectAccepted(t, "a send 1", "a send 3")
	if position := <-held; position.Seq != 2 {
		t.Errorf("%s was to be set aside", position)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if used := usedSlots(t, path); len(used) != 1 || !strings.HasPrefix(used[0], "Ab") {
		t.Errorf("after a stop the record has %q", used)
	}
}

// An administrator takes batches out of the backlog while their webhook is suspended. Delivery goes on with the others.
func TestBatchesAreTakenOutOfTheBacklog(t *testing.T) {
	t.Parallel()
	b := backlogged(t)
	b.suspended = map[string]bool{"a": true}
	b.start()
	b.sinks.expectAccepted(t, "b send 9")
	var page admin.BacklogPage
	if status := b.askBacklog(http.MethodGet, "/backlog?webhook=shop/a", "", &page); status != http.StatusOK || len(page.Batches) != 3 || page.Batches[1].Events != 3 {
		t.Fatalf("status %d: %+v", status, page)
	}
	var removed admin.BacklogAnswer
	if status := b.askBacklog(http.MethodPost, "/backlog/set-aside", `{"positions": ["batch:2", "batch:99"]}`, &removed); status != http.StatusOK || removed.Batches != 1 || removed.Events != 3 || len(removed.Missing) != 1 {
		t.Errorf("status %d: %+v", status, removed)
	}
	if status := b.askBacklog(http.MethodPost, "/backlog/drop", `{"positions": ["batch:1"]}`, &removed); status != http.StatusOK || removed.Batches != 1 || removed.Events != 2 {
		t.Errorf("status %d: %+v", status, removed)
	}
	b.suspended = nil
	b.loadRoutes()
	b.sinks.expectAccepted(t, "b send 9", "a click 1")
	if letters := b.deadLetters(); len(letters) != 1 || letters[0].Reason != journal.ReasonSetAside {
		t.Errorf("got the dead letters %+v", letters)
	}
	b.waitEmpty()
}
