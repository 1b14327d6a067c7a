package journal_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/quarantine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

// external is a server in another process, as far as the journal knows.
type external struct {
	t       *testing.T
	options server.Options
	server  *server.Server
}

func newExternal(t *testing.T, change ...func(*server.Options)) *external {
	t.Helper()
	e := &external{t: t, options: server.Options{
		ServerName: "elsewhere", Host: "127.0.0.1", Port: freePort(t), JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, NoSigs: true, NoLog: true,
	}}
	for _, each := range change {
		each(&e.options)
	}
	e.start()
	t.Cleanup(e.stop)
	return e
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := loopback.Port(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func (e *external) start() {
	e.t.Helper()
	options := e.options
	running, err := server.NewServer(&options)
	if err != nil {
		e.t.Fatal(err)
	}
	running.Start()
	if !running.ReadyForConnections(patience) {
		e.t.Fatal("the server does not start")
	}
	e.server = running
}

func (e *external) stop() {
	e.server.Shutdown()
	e.server.WaitForShutdown()
}

func (e *external) url() string { return "nats://127.0.0.1:" + strconv.Itoa(e.options.Port) }

// client is a connection that is not the journal's.
func (e *external) client() jetstream.JetStream {
	e.t.Helper()
	conn, err := nats.Connect(e.url(), nats.Name("client"))
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(conn.Close)
	stream, err := jetstream.New(conn)
	if err != nil {
		e.t.Fatal(err)
	}
	return stream
}

// batches is the stream of batches, as another client sees it.
func (e *external) batches() jetstream.Stream {
	e.t.Helper()
	stream, err := e.client().Stream(e.t.Context(), "mandrill-batch")
	if err != nil {
		e.t.Fatal(err)
	}
	return stream
}

// shared are options of a journal on an external server. A lease that is not released is free after a minute: a stalled machine must not
// lose it. Tests of that shorten it.
func shared(t *testing.T, urls ...string) (journal.Options, *logbuffer.Buffer) {
	t.Helper()
	limits, err := journal.SplitLimits(256<<20, 0)
	if err != nil {
		t.Fatal(err)
	}
	logged := &logbuffer.Buffer{}
	logger := slog.New(slog.NewTextHandler(logged, nil))
	return journal.Options{
		Engine: &engine.External{URLs: urls, Logger: logger}, Limits: limits, KeepLimits: true, Logger: logger, LeaseTime: time.Minute, Partitions: 1,
		Metrics: journal.NewMetrics(prometheus.NewRegistry()),
	}, logged
}

// A server without JetStream is not taken for one that is about to answer.
func TestServerWithoutJetStreamIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	e := newExternal(t, func(options *server.Options) { options.JetStream = false })
	options, logged := shared(t, e.url())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- journal.New(options).Run(ctx) }()
	until(t, "the log names the cause", func() bool { return strings.Contains(logged.String(), "the NATS server has no JetStream: enable it") })
	if strings.Contains(logged.String(), "no responders") {
		t.Errorf("the log has something else:\n%s", logged)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for tick := time.Tick(20 * time.Millisecond); !condition(); <-tick {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// An external server keeps what is stored when a receiver ends, and several installations have buffers of their own.
func TestExternalServer(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options, _ := shared(t, e.url())
	o := run(t, journal.New(options))
	if o.append(batch("shop/a", "1", "2")) || !o.isDuplicate(batch("shop/a", "1", "2")) {
		t.Error("the second is a duplicate, and only that")
	}
	others := options
	others.Name = "other"
	another := run(t, journal.New(others))
	if another.append(batch("shop/a", "1", "2")) {
		t.Error("another installation has buffers of its own")
	}
	o.stop()
	same := run(t, journal.New(options))
	stored := same.next("shop/a", 0)
	if stored == nil || string(stored.Value) != "[1,2]" {
		t.Fatalf("got %+v", stored)
	}
	same.work(func(ctx context.Context, w *journal.Consumer) {
		if err := w.Ack(ctx, stored); err != nil {
			t.Error(err)
		}
	})
	if another.next("shop/a", 0) == nil {
		t.Error("that of the other is still there")
	}
}

// A server with the default max_payload stores batches and events of any size.
func TestSmallPayload(t *testing.T) {
	t.Parallel()
	options, _ := shared(t, newExternal(t).url())
	testSmallPayload(t, run(t, journal.New(options)))
}

func testSmallPayload(t *testing.T, o *opened) {
	t.Helper()
	events := []string{"1", largeEvent(3<<20, 1), "3"}
	for i := range 8 {
		events = append(events, largeEvent(400<<10, i+2))
	}
	if o.append(batch("shop/a", events...)) || !o.isDuplicate(batch("shop/a", events...)) {
		t.Error("the second is a duplicate, and only that")
	}
	var got []string
	for from := uint64(0); len(got) < len(events); {
		part := o.next("shop/a", from)
		if part == nil {
			t.Fatalf("there are %d events, want %d", len(got), len(events))
		}
		for _, event := range part.Events {
			got = append(got, string(event.Raw))
		}
		from = part.Position.Seq + 1
		o.work(func(ctx context.Context, c *journal.Consumer) {
			remainder, err := c.Requeue(ctx, part, part.Events)
			if err != nil {
				t.Fatal(err)
			}
			again, err := c.Get(ctx, remainder[0].Position)
			if err != nil || len(again.Events) != len(part.Events) {
				t.Errorf("requeued, it is not the same: %v", err)
			}
			if err := c.Ack(ctx, again); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range events {
		if got[i] != events[i] {
			t.Errorf("event %d is not as it was", i)
		}
	}
	o.deadLetter("shop/b", events[1], journal.ReasonRefused)
	if progress := o.redrive(journal.Selection{}); progress.Count != 1 {
		t.Errorf("redriven: %+v", progress)
	}
	redriven := o.next("shop/b", 0)
	if redriven == nil || string(redriven.Events[0].Raw) != events[1] {
		t.Fatal("the redriven event is not as it was")
	}
	o.ack(redriven)
	if messages := o.messages(objectStream); messages > 0 {
		t.Errorf("%d messages are left of what is finished", messages)
	}
}

// A server with a tiny max_payload is refused with a remedy.
func TestTooSmallPayloadIsRefused(t *testing.T) {
	t.Parallel()
	e := newExternal(t, func(options *server.Options) { options.MaxPayload = 16 << 10 })
	options, _ := shared(t, e.url())
	if err := refused(t, options); err == nil || !strings.Contains(err.Error(), "max_payload must be at least") {
		t.Errorf("got %v", err)
	}
}

// refused runs a journal that must end with a ConfigError.
func refused(t *testing.T, options journal.Options) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := journal.New(options).Run(ctx)
	if fatal := new(journal.ConfigError); err != nil && !errors.As(err, &fatal) {
		t.Errorf("%v is no ConfigError", err)
	}
	return err
}

// While the server is down batches are refused at once. When it is back everything continues, and nothing is lost.
func TestRestartOfTheServerLosesNothing(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options, logged := shared(t, strings.Replace(e.url(), "//", "//robot:s3ntinel@", 1))
	o := run(t, journal.New(options))
	ledger := follow(t, o.Journal)
	writers := load(t, o.Journal)
	writers.progress(20)
	for range 2 {
		e.stop()
		until(t, "a refusal", func() bool { return writers.refusals() > 0 })
		begun := time.Now()
		if _, err := o.Append(t.Context(), batch("shop/x", "x")); !errors.Is(err, journal.ErrUnavailable) || time.Since(begun) > 2*time.Second {
			t.Errorf("without a server: %v after %s, want %v at once", err, time.Since(begun), journal.ErrUnavailable)
		}
		if o.Available(t.Context()) {
			t.Error("without a server it is not available")
		}
		e.start()
		writers.progress(20)
	}
	ledger.expect(writers.stop())
	if text := logged.String(); strings.Contains(text, "s3ntinel") || strings.Contains(text, "127.0.0.1") {
		t.Errorf("the log has a secret or an address:\n%s", text)
	}
}

// Streams that would lose data are refused with a remedy.
func TestUnsafeStreamsAreRefused(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	client := e.client()
	bad := jetstream.StreamConfig{Name: "mandrill-batch", Subjects: []string{"mandrill.batch.>"}, Discard: jetstream.DiscardOld, MaxAge: time.Hour, Duplicates: time.Minute}
	if _, err := client.CreateStream(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	options, _ := shared(t, e.url())
	err := refused(t, options)
	for _, want := range []string{"mandrill-batch would lose data", "discard must be new", "max_age must be unlimited", "duplicate_window must be at least 12h0m0s"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	options.Name, options.Replicas = "replicated", 3
	if err := refused(t, options); err == nil || !strings.Contains(err.Error(), "lower --buffer-replicas") {
		t.Errorf("got %v, want what to do", err)
	}
	if err := client.DeleteStream(t.Context(), "mandrill-batch"); err != nil {
		t.Fatal(err)
	}
	options.Name, options.Replicas = "", 1
	run(t, journal.New(options)).stop()
	found, err := client.Stream(t.Context(), "KV_mandrill-state")
	if err != nil {
		t.Fatal(err)
	}
	changed := found.CachedInfo().Config
	changed.MaxAge = time.Hour
	if _, err := client.UpdateStream(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if err := refused(t, options); err == nil || !strings.Contains(err.Error(), "KV_mandrill-state would lose data: max_age must be unlimited") {
		t.Errorf("got %v", err)
	}
}

// The limits of existing streams stay as they are, unless they follow ours.
func TestLimitsOfExistingStreams(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options, _ := shared(t, e.url())
	limit := func() int64 {
		return e.batches().CachedInfo().Config.MaxBytes
	}
	run(t, journal.New(options)).stop()
	before := limit()
	options.Limits.Batches /= 2
	run(t, journal.New(options)).stop()
	if limit() != before {
		t.Errorf("the limit is %d, want %d still", limit(), before)
	}
	options.KeepLimits = false
	run(t, journal.New(options)).stop()
	if limit() != before/2 {
		t.Errorf("the limit is %d, want %d", limit(), before/2)
	}
}

// Each setting that would lose data is a fault, and no other.
func TestFaultsOfStreams(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options, _ := shared(t, e.url())
	run(t, journal.New(options)).stop()
	client := e.client()
	for _, test := range []struct {
		stream, want string
		change       func(*jetstream.StreamConfig)
	}{
		{"mandrill-batch", "", func(*jetstream.StreamConfig) {}},
		{"mandrill-remainder", "", func(*jetstream.StreamConfig) {}},
		{"mandrill-dead-letter", "", func(*jetstream.StreamConfig) {}},
		{"mandrill-finished", "", func(*jetstream.StreamConfig) {}},
		{"OBJ_mandrill-objects", "", func(*jetstream.StreamConfig) {}},
		{"KV_mandrill-state", "", func(*jetstream.StreamConfig) {}},
		{"mandrill-batch", "", func(c *jetstream.StreamConfig) { c.Replicas, c.AllowDirect = 5, false }},
		{"mandrill-batch", "", func(c *jetstream.StreamConfig) { c.MaxBytes, c.MaxMsgs, c.MaxMsgSize = -1, -1, -1 }},
		{"mandrill-finished", "", func(c *jetstream.StreamConfig) { c.MaxAge = 0 }},
		{"mandrill-batch", "storage must be file", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }},
		{"mandrill-batch", "retention must be limits", func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }},
		{"mandrill-remainder", "discard must be new", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }},
		{"mandrill-dead-letter", "max_age must be unlimited", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }},
		{"mandrill-finished", "max_age must be at least 12h", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }},
		{"mandrill-batch", "max_msgs must be unlimited", func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 }},
		{"mandrill-batch", "max_msgs_per_subject must be unlimited", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 10 }},
		{"mandrill-finished", "max_msgs_per_subject must be 1", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = -1 }},
		{"mandrill-batch", "max_msg_size must be unlimited", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 << 20 }},
		{"mandrill-batch", "max_consumers must be unlimited", func(c *jetstream.StreamConfig) { c.MaxConsumers = 1 }},
		{"mandrill-batch", "no_ack must be off", func(c *jetstream.StreamConfig) { c.NoAck = true }},
		{"mandrill-batch", "deletion must be allowed", func(c *jetstream.StreamConfig) { c.Sealed = true }},
		{"mandrill-remainder", "deletion must be allowed", func(c *jetstream.StreamConfig) { c.DenyDelete = true }},
		{"OBJ_mandrill-objects", "deletion must be allowed", func(c *jetstream.StreamConfig) { c.DenyPurge = true }},
		{"mandrill-batch", "it must be no mirror", func(c *jetstream.StreamConfig) { c.Mirror = &jetstream.StreamSource{Name: "x"} }},
		{"mandrill-batch", "have no sources", func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "x"}} }},
		{"mandrill-batch", "no subject transform", func(c *jetstream.StreamConfig) { c.SubjectTransform = &jetstream.SubjectTransformConfig{} }},
		{"mandrill-batch", "duplicate_window must be at least 12h", func(c *jetstream.StreamConfig) { c.Duplicates = 2 * time.Minute }},
		{"KV_mandrill-state", "allow_rollup_hdrs must be on", func(c *jetstream.StreamConfig) { c.AllowRollup = false }},
		{"mandrill-batch", "persist_mode must be default", func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode }},
		{"mandrill-batch", "num_replicas must be at least 1", func(c *jetstream.StreamConfig) { c.Replicas = 0 }},
		{"OBJ_mandrill-objects", "allow_direct must be off", func(c *jetstream.StreamConfig) { c.Replicas = 3 }},
		{"mandrill-batch", "its subjects must be mandrill.batch.>", func(c *jetstream.StreamConfig) { c.Subjects = []string{"mandrill.batch.shop"} }},
		{"OBJ_mandrill-objects", "its subjects must be", func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[:1] }},
	} {
		stream, err := client.Stream(t.Context(), test.stream)
		if err != nil {
			t.Fatal(err)
		}
		want := stream.CachedInfo().Config
		if want.Replicas != 1 {
			t.Fatalf("it has %d replicas", want.Replicas)
		}
		have := want
		test.change(&have)
		got := strings.Join(store.Faults(have, want), "; ")
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.stream, got, test.want)
		}
	}
}

// Refused credentials do not end the journal: they may be renewed, and are read again.
func TestCredentialsAreReadAgain(t *testing.T) {
	t.Parallel()
	good, bad, authority := credentials(t)
	e := newExternal(t, authority)
	path := filepath.Join(t.TempDir(), "s3ntinel.creds")
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	options, logged := shared(t, e.url())
	options.Engine = &engine.External{URLs: []string{e.url()}, CredentialsFile: path, Logger: options.Logger}
	j := journal.New(options)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	until(t, "an error", func() bool { return strings.Contains(logged.String(), "the server refused the credentials") })
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	waiting, done := context.WithTimeout(t.Context(), patience)
	defer done()
	if err := j.WaitAvailable(waiting); err != nil {
		t.Fatal(err)
	}
	journaltest.Append(t, j, batch("shop/a", "1"))
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if text := logged.String(); strings.Contains(text, "127.0.0.1") || strings.Contains(text, "SU") && strings.Contains(text, "eyJ") {
		t.Errorf("the log has an address or credentials:\n%s", text)
	}
}

// A client certificate is sent when the server wants one, also after the CA of both has changed.
func TestExternalServerWithTLS(t *testing.T) {
	t.Parallel()
	files := certificates(t)
	config, err := files.Config()
	if err != nil {
		t.Fatal(err)
	}
	e := newExternal(t, func(options *server.Options) {
		options.TLSConfig, options.TLSVerify, options.TLSTimeout = config, true, 5
	})
	options, logged := shared(t)
	options.Engine = &engine.External{URLs: []string{strings.Replace(e.url(), "nats:", "tls:", 1)}, TLS: files, Logger: options.Logger}
	o := run(t, journal.New(options))
	o.append(batch("shop/a", "1"))

	strangers := options
	strangers.Engine = &engine.External{URLs: []string{e.url()}, TLS: certificates(t), Logger: options.Logger}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- journal.New(strangers).Run(ctx) }()
	until(t, "an error", func() bool { return strings.Contains(logged.String(), "certificate is not trusted") })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	rewrite(t, files, read(t, certificates(t)))
	if e.options.TLSConfig, err = files.Config(); err != nil {
		t.Fatal(err)
	}
	e.stop()
	e.start()
	restarted := time.Now()
	until(t, "a connection", func() bool { _, err := o.Append(t.Context(), batch("shop/a", "2")); return err == nil })
	if took := time.Since(restarted); took > 15*time.Second { // after half a minute the buffer is opened again
		t.Errorf("it took %s", took)
	}
}

// What a leader of a shared buffer was processing when it ended is known to the next one, on whichever machine.
func TestNextLeaderKnowsWhatEndedTheLast(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	lead := func(do func(context.Context, *quarantine.Record)) {
		options, _ := shared(t, e.url())
		o := run(t, journal.New(options))
		o.work(func(ctx context.Context, c *journal.Consumer) { do(ctx, c.Record()) })
		o.stop()
	}
	found := func(ctx context.Context, record *quarantine.Record) quarantine.Found {
		found, err := record.Open(ctx)
		if err != nil {
			t.Error(err)
		}
		return found
	}
	key, other := quarantine.Key{Seq: 7}, quarantine.Key{Remainder: true, Seq: 7}
	for i, want := range []quarantine.Found{{}, {Suspects: 2}, {Suspects: 2}, {Suspects: 2}, {Poison: []quarantine.Key{key}, Suspects: 1}, {}} {
		lead(func(ctx context.Context, record *quarantine.Record) {
			if diff := cmp.Diff(want, found(ctx, record)); diff != "" {
				t.Errorf("leader %d (-want +got):\n%s", i, diff)
			}
			switch i {
			case 0:
				record.Begin(other)
				record.Begin(key)
			case 1, 2, 3:
				record.Begin(key)
			case quarantine.InSharedBuffer:
				record.Forget(key)
				record.Clear()
			}
		})
	}
}
