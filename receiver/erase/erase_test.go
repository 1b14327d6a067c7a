package erase_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/erase"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/erasure"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
)

const (
	ana = "ana-7f3k9q2x@Example.com"
	bob = "bob@example.com"
)

// buffer is a journal whose leader carries out orders.
type buffer struct {
	*journal.Journal
	t    *testing.T
	stop func()
}

func start(t *testing.T, e journal.Engine, log *bytes.Buffer, lead func(ctx context.Context, consumer *journal.Consumer) error) *buffer {
	t.Helper()
	limits, err := journal.SplitLimits(1<<30, 0)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewJSONHandler(log, nil))
	b := &buffer{Journal: journal.New(journal.Options{Engine: e, Limits: limits, Logger: logger, Partitions: 1}), t: t}
	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan error, 1)
	go func() { running <- b.Run(ctx) }()
	leading, yield := context.WithCancel(ctx)
	led := make(chan error, 1)
	go func() {
		if lead == nil {
			led <- nil
			return
		}
		led <- b.Lead(leading, lead)
	}()
	b.stop = func() {
		yield()
		err := <-led
		led <- nil
		cancel()
		if err = errors.Join(err, <-running); err != nil {
			t.Error(err)
		}
		running <- nil
	}
	t.Cleanup(b.stop)
	waiting, done := context.WithTimeout(t.Context(), time.Minute)
	defer done()
	if err := b.WaitAvailable(waiting); err != nil {
		t.Fatal(err)
	}
	return b
}

func sent(id int, to string) string {
	return fmt.Sprintf(`{"event":"send","_id":"%d","msg":{"email":%q}}`, id, to)
}

func (b *buffer) append(webhook string, events ...string) {
	b.t.Helper()
	raw := make([][]byte, len(events))
	for i, event := range events {
		raw[i] = []byte(event)
	}
	value := mandrilltest.Batch(raw...)
	elements, err := mandrill.SplitBatch(value)
	if err != nil {
		b.t.Fatal(err)
	}
	journaltest.Append(b.t, b.Journal, journal.Batch{
		Webhook: webhook, Received: time.Now(), Value: value, Events: elements, IDs: func() []string { return mapping.EventIDs(elements) },
	})
}

// fill stores dead letters, remainders and batches of two recipients.
func fill(t *testing.T, b *buffer) {
	t.Helper()
	b.append("shop/dead", sent(1, ana), sent(2, bob), sent(1, "other@example.com"))
	b.append("shop/rest", sent(3, ana), sent(4, bob), sent(5, bob))
	b.append("shop/a", sent(6, bob), sent(7, ana), sent(8, bob))
	b.append("shop/a", sent(9, strings.ToLower(ana)))
	b.append("shop/a", sent(10, bob))
	b.append("shop/large", fmt.Sprintf(`{"event":"inbound","msg":{"to":[[%q,"Ana"]],"text":%q}}`, ana, random(9<<20)))
	b.append("shop/b", sent(11, ana))
	ctx, cancel := context.WithCancel(t.Context())
	_ = b.Lead(ctx, func(ctx context.Context, c *journal.Consumer) error {
		defer cancel()
		c = c.Erasing() // so that what is removed here leaves nothing in the files
		whole, err := c.Next(ctx, "shop/dead", 0)
		if err != nil {
			t.Error(err)
			return nil
		}
		elements, _ := mandrill.SplitBatch(whole.Value)
		var letters []journal.DeadLetter
		for i, element := range elements {
			letters = append(letters, journal.DeadLetter{PendingEvent: journal.PendingEvent{ID: strconv.Itoa(i), Raw: element}, Reason: journal.ReasonRefused})
		}
		err = errors.Join(c.DeadLetter(ctx, whole, letters), c.Ack(ctx, whole))
		rest, nextErr := c.Next(ctx, "shop/rest", 0)
		if err = errors.Join(err, nextErr); err == nil {
			elements, _ = mandrill.SplitBatch(rest.Value)
			_, err = c.Requeue(ctx, rest, []journal.PendingEvent{{ID: "a", Raw: elements[0], Attempts: 3}, {ID: "b", Raw: elements[1], Attempts: 2, Index: 1}})
		}
		if err != nil {
			t.Error(err)
		}
		return nil
	})
}

func random(n int) string {
	text, state := make([]byte, n), uint64(7)
	for i := range text {
		state = state*6364136223846793005 + 1442695040888963407
		text[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[state>>58]
	}
	return string(text)
}

// contents returns the messages that the buffer has events of: dead letters, remainders with their attempts, and batches.
func contents(ctx context.Context, t *testing.T, c *journal.Consumer) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for name, scan := range map[string]func(context.Context, func(*journal.StoredBatch) error) (int, error){
		"dead letters": func(ctx context.Context, each func(*journal.StoredBatch) error) (int, error) {
			return c.ScanDeadLetters(ctx, true, each)
		}, "remainders": c.ScanRemainders, "batches": c.ScanBatches,
	} {
		unreadable, err := scan(ctx, func(batch *journal.StoredBatch) error {
			events := batch.Events
			if batch.Value != nil {
				elements, err := mandrill.SplitBatch(batch.Value)
				if err != nil {
					return err
				}
				for _, element := range elements {
					events = append(events, journal.PendingEvent{Raw: element})
				}
			}
			for _, event := range events {
				text := batch.Webhook + " " + mandrill.ParseEvent(event.Raw).MessageID
				if event.Attempts > 0 {
					text += fmt.Sprintf(" after %d", event.Attempts)
				}
				found[name] = append(found[name], text)
			}
			return nil
		})
		if err != nil || unreadable > 0 {
			t.Errorf("%s: %d cannot be read, %v", name, unreadable, err)
		}
		slices.Sort(found[name])
	}
	return found
}

// awaitResult waits until an order is carried out.
func (b *buffer) awaitResult(id string) *erasure.Result {
	b.t.Helper()
	deadline := time.After(2 * time.Minute)
	for tick := time.Tick(20 * time.Millisecond); ; {
		if result, err := b.ErasureResult(b.t.Context(), id); err == nil && result != nil {
			return result
		}
		select {
		case <-tick:
		case <-deadline:
			b.t.Fatal("the order is not carried out")
		}
	}
}

func (b *buffer) order(request erasure.Request) string {
	b.t.Helper()
	id, err := b.OrderErasure(b.t.Context(), request)
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

// filesWith returns the files below a folder that have a text in them.
func filesWith(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(text)) {
			found = append(found, filepath.Base(filepath.Dir(filepath.Dir(path))))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func external(t *testing.T) *engine.External {
	t.Helper()
	nats, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	nats.Start()
	t.Cleanup(func() { nats.Shutdown(); nats.WaitForShutdown() })
	if !nats.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	return &engine.External{URLs: []string{nats.ClientURL()}, Logger: slog.New(slog.DiscardHandler)}
}

var everything = map[string][]string{
	"dead letters": {"shop/dead 1", "shop/dead 1", "shop/dead 2"},
	"remainders":   {"shop/rest 3 after 3", "shop/rest 4 after 2"},
	"batches":      {"shop/a 10", "shop/a 6", "shop/a 7", "shop/a 8", "shop/a 9", "shop/b 11", "shop/large "},
}

// The events of a recipient are erased wherever they are, and all others stay, with their attempts. A dry run only counts. The
// address is neither in the log nor in the state of the buffer, and afterwards in no file of its store.
func TestRecipientIsErased(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		request erasure.Request
		result  erasure.Result
		left    map[string][]string
	}{
		"a recipient": {
			erasure.Request{Recipient: " " + strings.Replace(ana, "Example", "eXAMPLE", 1)}, erasure.Result{DeadLetters: 1, Events: 5, Batches: 5},
			map[string][]string{
				"dead letters": {"shop/dead 1", "shop/dead 2"},
				"remainders":   {"shop/a 6", "shop/a 8", "shop/rest 4 after 2"},
				"batches":      {"shop/a 10"},
			},
		},
		"a recipient of a webhook": {
			erasure.Request{Recipient: ana, Webhook: "shop/b"}, erasure.Result{Events: 1, Batches: 1},
			map[string][]string{
				"dead letters": everything["dead letters"], "remainders": everything["remainders"],
				"batches": {"shop/a 10", "shop/a 6", "shop/a 7", "shop/a 8", "shop/a 9", "shop/large "},
			},
		},
		"a message": {
			erasure.Request{Message: "1"}, erasure.Result{DeadLetters: 2},
			map[string][]string{"dead letters": {"shop/dead 2"}, "remainders": everything["remainders"], "batches": everything["batches"]},
		},
		"another local part": {erasure.Request{Recipient: strings.ToUpper(ana)}, erasure.Result{}, everything},
		"a dry run":          {erasure.Request{Recipient: ana, DryRun: true}, erasure.Result{DeadLetters: 1, Events: 5, Batches: 5}, everything},
	} {
		for _, shared := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, shared %t", name, shared), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				e := journal.Engine(&engine.Embedded{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
				if shared {
					e = external(t)
				}
				testErased(t, e, dir, test.request, test.result, test.left)
			})
		}
	}
}

func testErased(t *testing.T, e journal.Engine, dir string, request erasure.Request, result erasure.Result, left map[string][]string) {
	t.Helper()
	var log, prepareLog bytes.Buffer
	prepared := start(t, e, &prepareLog, nil)
	fill(t, prepared)
	id := prepared.order(request) // an order that is there before there is a leader
	prepared.stop()
	local, _, _ := strings.Cut(ana, "@")
	embedded, isEmbedded := e.(*engine.Embedded)
	if isEmbedded && len(filesWith(t, dir, local)) == 0 {
		t.Fatal("the address cannot be found in the files")
	}
	var delivering atomic.Int64
	var seen map[string][]string
	b := start(t, e, &log, func(ctx context.Context, c *journal.Consumer) error {
		runner := erase.Runner{Interval: 10 * time.Millisecond, Logger: slog.New(slog.NewJSONHandler(&log, nil))}
		return runner.Run(ctx, c, func(ctx context.Context) error {
			if delivering.Load() == 0 {
				seen = contents(context.WithoutCancel(ctx), t, c)
			}
			delivering.Add(1)
			<-ctx.Done()
			return nil
		})
	})
	if diff := cmp.Diff(&result, b.awaitResult(id)); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if _, err := b.ErasureResult(t.Context(), id); !errors.Is(err, erasure.ErrUnknown) {
		t.Errorf("a result that was read: %v", err)
	}
	for delivering.Load() == 0 {
		<-time.After(10 * time.Millisecond)
	}
	b.stop()
	if diff := cmp.Diff(left, seen); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	if strings.Contains(log.String(), local) || !strings.Contains(log.String(), "on request") && !strings.Contains(log.String(), "would erase") {
		t.Errorf("log: %s", log.String())
	}
	if !isEmbedded || request.DryRun || request.Recipient == "" || request.Webhook != "" || result.Events == 0 {
		return
	}
	if found := filesWith(t, dir, local); len(found) > 0 {
		t.Errorf("the address is still in files of %v", found)
	}
	if conn, err := embedded.Open(t.Context()); err != nil || conn.Repairs.Damaged > 0 {
		t.Errorf("the files are damaged afterwards: %+v, %v", conn, err)
	} else {
		conn.Close()
	}
}

// saveProgress stores a remainder of the first batch with its first event, as delivery does when a request under way has ended.
func saveProgress(ctx context.Context, c *journal.Consumer) error {
	batch, err := c.Next(ctx, "shop/a", 0)
	if errors.Is(err, journal.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	elements, err := mandrill.SplitBatch(batch.Value)
	if err == nil {
		_, err = c.Requeue(ctx, batch, []journal.PendingEvent{{ID: "0", Raw: elements[0], Attempts: 1}})
	}
	return err
}

// Delivery stops before anything is erased, and goes on afterwards. Counting does not stop it.
func TestDeliveryStopsWhileEventsAreErased(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var delivering, runs atomic.Int64
	e := &engine.Embedded{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}
	b := start(t, e, &log, func(ctx context.Context, c *journal.Consumer) error {
		runner := erase.Runner{Interval: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}
		return runner.Run(ctx, c, func(ctx context.Context) error {
			runs.Add(1)
			delivering.Add(1)
			defer delivering.Add(-1)
			<-ctx.Done()
			return saveProgress(context.WithoutCancel(ctx), c)
		})
	})
	b.append("shop/a", sent(1, ana), sent(2, bob))
	if result := b.awaitResult(b.order(erasure.Request{Recipient: ana, DryRun: true})); result.Events != 1 || runs.Load() != 1 {
		t.Errorf("dry run: %+v, delivery ran %d times", result, runs.Load())
	}
	if diff := cmp.Diff(&erasure.Result{Events: 1, Batches: 1}, b.awaitResult(b.order(erasure.Request{Recipient: ana}))); diff != "" {
		t.Errorf("what delivery saved at last is not erased (-want +got):\n%s", diff)
	}
	deadline := time.After(time.Minute)
	for tick := time.Tick(10 * time.Millisecond); runs.Load() != 2 || delivering.Load() != 1; <-tick {
		select {
		case <-deadline:
			t.Fatalf("delivery does not go on: %d runs, %d of them now", runs.Load(), delivering.Load())
		default:
		}
	}
}

// An order that fails again and again is given up, so that delivery goes on.
func TestOrderThatFailsIsGivenUp(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var attempts atomic.Int64
	e := &engine.Embedded{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}
	b := start(t, e, &log, func(ctx context.Context, c *journal.Consumer) error {
		orders, err := c.Erasures().Pending(ctx)
		if err == nil && len(orders) > 0 { // as if the process had crashed each time
			attempts.Add(1)
			if again, err := c.Erasures().Attempt(ctx, orders[0]); again || err != nil {
				return errors.Join(errors.New("crashed"), err)
			}
		}
		<-ctx.Done()
		return nil
	})
	id := b.order(erasure.Request{Recipient: ana})
	b.stop()
	b = start(t, e, &log, func(ctx context.Context, c *journal.Consumer) error {
		orders, err := c.Erasures().Pending(ctx)
		if err == nil && len(orders) > 0 {
			attempts.Add(1)
			if again, err := c.Erasures().Attempt(ctx, orders[0]); again || err != nil {
				return errors.Join(errors.New("crashed"), err)
			}
		}
		<-ctx.Done()
		return nil
	})
	if result := b.awaitResult(id); !result.Failed || attempts.Load() != erasure.MaxAttempts+1 {
		t.Errorf("%+v after %d attempts", result, attempts.Load())
	}
}

// A dead letter that is a whole batch has events of many recipients: those of one are erased from it, and the others stay a dead
// letter that can be redriven. It is erased as a whole if it has no others.
func TestRecipientIsErasedFromBatchThatWasSetAside(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	dir := t.TempDir()
	lead := func(ctx context.Context, c *journal.Consumer) error {
		runner := erase.Runner{Interval: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}
		return runner.Run(ctx, c, func(ctx context.Context) error { <-ctx.Done(); return nil })
	}
	b := start(t, &engine.Embedded{Dir: dir, Logger: slog.New(slog.DiscardHandler)}, &log, lead)
	b.append("shop/three", sent(1, bob), sent(2, ana), sent(3, bob))
	b.append("shop/two", sent(4, ana), sent(5, bob))
	b.append("shop/one", sent(6, ana))
	b.append("shop/none", sent(7, bob), sent(8, bob))
	if _, err := b.SetAside(t.Context(), []journal.Position{{Seq: 1}, {Seq: 2}, {Seq: 3}, {Seq: 4}}); err != nil {
		t.Fatal(err)
	}
	for _, dryRun := range []bool{true, false} {
		result := b.awaitResult(b.order(erasure.Request{Recipient: ana, DryRun: dryRun}))
		if diff := cmp.Diff(&erasure.Result{DeadLetters: 3}, result); diff != "" {
			t.Errorf("dry run %t (-want +got):\n%s", dryRun, diff)
		}
	}
	letters, _, err := b.DeadLetters(t.Context(), journal.DeadLetterFilter{Reason: journal.ReasonSetAside}, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, letter := range letters {
		_, event, err := b.DeadLetter(t.Context(), letter.Seq)
		if err != nil || letter.DeadLettered.IsZero() || letter.Received.IsZero() {
			t.Errorf("%+v, %v", letter, err)
		}
		found[letter.Webhook] = fmt.Sprintf("%d %s", letter.Events, event.Raw)
	}
	want := map[string]string{
		"shop/none": "2 [" + sent(7, bob) + "," + sent(8, bob) + "]", "shop/three": "2 [" + sent(1, bob) + "," + sent(3, bob) + "]", "shop/two": "0 " + sent(5, bob),
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	if done, err := b.Redrive(t.Context(), journal.Selection{}); err != nil || done.Count != 3 {
		t.Errorf("redriven: %+v, %v", done, err)
	}
	b.stop()
	if lost := b.Lost(); lost != nil {
		t.Errorf("%v are lost", lost)
	}
}
