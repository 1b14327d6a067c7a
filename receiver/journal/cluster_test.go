package journal_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
)

// cluster is the journals of three receivers.
type cluster struct {
	t      *testing.T
	peers  []string
	dirs   []string
	files  engine.TLSFiles
	limits journal.Limits
	logged logbuffer.Buffer
	ledger *ledger // nil: nothing is delivered
	// partitions is how many there are: one while a test acts as the leader, which it is once then.
	partitions int
	mu         sync.Mutex
	members    []*clustered
}

// clustered is a member while it runs.
type clustered struct {
	*journal.Journal
	metrics *prometheus.Registry
	stop    func()
	kill    func()
}

func newCluster(t *testing.T, l *ledger) *cluster {
	t.Helper()
	c := &cluster{t: t, files: certificates(t), members: make([]*clustered, engine.ClusterMembers), ledger: l}
	if l == nil {
		c.partitions = 1
	}
	var err error
	if c.limits, err = journal.SplitLimits(256<<20, 0); err != nil {
		t.Fatal(err)
	}
	for range engine.ClusterMembers {
		c.peers = append(c.peers, "127.0.0.1:"+strconv.Itoa(freePort(t)))
		c.dirs = append(c.dirs, t.TempDir())
	}
	for i := range c.members {
		c.start(i)
	}
	for i := range c.members {
		c.joined(i)
	}
	return c
}

func (c *cluster) engine(i int) *engine.Cluster {
	return &engine.Cluster{
		Dir: c.dirs[i], Reserve: smallReserve, Name: fmt.Sprintf("receiver-%d", i), Listen: c.peers[i], Peers: c.peers, Password: "s3ntinel and s3ntinel",
		TLS: c.files, Logger: slog.New(slog.NewTextHandler(&c.logged, nil)).With("member", i),
	}
}

// start starts a member. With a ledger it also delivers while it holds the lease.
func (c *cluster) start(i int) {
	e, registry := c.engine(i), prometheus.NewRegistry()
	j := journal.New(journal.Options{
		Engine: e, Limits: c.limits, Replicas: engine.ClusterMembers, Logger: e.Logger, LeaseTime: 8 * time.Second, Partitions: c.partitions,
		Metrics: journal.NewMetrics(registry),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	endWork := func() {}
	if c.ledger != nil {
		endWork = c.ledger.deliver(strconv.Itoa(i), j)
	}
	end := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			c.t.Error(err)
		}
	})
	member := &clustered{Journal: j, metrics: registry,
		stop: func() { endWork(); end() },
		kill: func() { e.Kill(); end(); endWork() },
	}
	c.mu.Lock()
	c.members[i] = member
	c.mu.Unlock()
	c.t.Cleanup(member.stop)
}

// joined waits until a member is available.
func (c *cluster) joined(i int) {
	c.t.Helper()
	ctx, done := context.WithTimeout(c.t.Context(), patience)
	defer done()
	if err := c.members[i].WaitAvailable(ctx); err != nil {
		c.t.Fatalf("member %d does not join: %v\n%s", i, err, c.logged.String())
	}
}

func (c *cluster) journals() []*journal.Journal {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*journal.Journal
	for _, member := range c.members {
		list = append(list, member.Journal)
	}
	return list
}

// Members are killed and restarted in turn: appending goes on, and every batch is delivered.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	c := newCluster(t, newLedger(t))
	w := loadAny(t, c.journals)
	w.progress(20)
	for i := range c.members {
		c.members[i].kill()
		killed := time.Now()
		w.progress(20)
		t.Logf("member %d was killed, and appending went on for %s", i, time.Since(killed))
		c.start(i)
		c.joined(i)
		w.progress(10)
	}
	for i := range c.members {
		begun := time.Now()
		c.members[i].stop()
		c.start(i)
		c.joined(i)
		t.Logf("member %d was restarted in %s", i, time.Since(begun))
		w.progress(10)
	}
	c.ledger.expect(w.stop())
	if text := c.logged.String(); strings.Contains(text, "s3ntinel") || strings.Contains(text, "127.0.0.1") {
		t.Errorf("the log has a secret or an address:\n%s", text)
	}
}

// A partitioned member refuses batches at once and is not available.
func TestPartitionedMember(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	survivor := c.members[0]
	for _, member := range c.members[1:] {
		member.kill()
	}
	killed := time.Now()
	until(t, "the member is not available", func() bool { return !survivor.Available(t.Context()) })
	until(t, "a batch is refused at once", func() bool {
		begun := time.Now()
		_, err := survivor.Append(t.Context(), batch("shop/a", "1"))
		if !errors.Is(err, journal.ErrUnavailable) {
			t.Fatalf("appending: %v, want %v", err, journal.ErrUnavailable)
		}
		return time.Since(begun) < time.Second
	})
	if took := time.Since(killed); took > 15*time.Second { // after 30 the connection is given up
		t.Errorf("that has taken %s", took)
	}
	c.start(1)
	until(t, "two members store batches", func() bool {
		_, err := survivor.Append(t.Context(), batch("shop/a", "2"))
		return err == nil && survivor.Available(t.Context())
	})
}

// Everything that the journal does works with replicas, and with two of three members.
func TestClusterOperations(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	c.intruders()
	events := []string{"1", largeEvent(2304<<10, 1), "3"}
	for i := range 2 {
		events = append(events, largeEvent(750<<10, i+2))
	}
	first, second := &opened{Journal: c.members[0].Journal, t: t}, &opened{Journal: c.members[1].Journal, t: t}
	if first.append(batch("shop/a", events...)) || !second.isDuplicate(batch("shop/a", events...)) {
		t.Error("the second is a duplicate, wherever it comes, and only that")
	}
	for i := range 60 { // each reads with a consumer that the members learn of at different times, as one of them does of the batch
		if _, _, err := c.members[i%len(c.members)].Backlog(t.Context(), "", nil, 10); errors.Is(err, nats.ErrNoResponders) {
			t.Fatalf("the backlog cannot be read: %v", err)
		}
	}
	c.members[2].stop()
	got := map[string]bool{}
	second.work(func(ctx context.Context, w *journal.Consumer) {
		for from := uint64(0); len(got) < len(events); {
			unit, err := w.Next(ctx, "shop/a", from)
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range unit.Events {
				got[string(entry.Raw)] = true
			}
			if _, err := w.Requeue(ctx, unit, unit.Events); err != nil {
				t.Fatal(err)
			}
			from = unit.Position.Seq + 1
		}
		if err := w.MarkDeleted(ctx, "shop/a", time.UnixMilli(5)); err != nil {
			t.Error(err)
		}
	})
	left := map[string]bool{}
	first.work(func(ctx context.Context, w *journal.Consumer) {
		err := w.Remainders(ctx, func(unit *journal.StoredBatch) {
			for _, entry := range unit.Events {
				left[string(entry.Raw)] = true
			}
			if err := w.Ack(ctx, unit); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Error(err)
		}
		orphans, err := w.DeletedWebhooks(ctx)
		if err != nil || orphans["shop/a"] != time.UnixMilli(5) {
			t.Errorf("orphans are %v, error %v", orphans, err)
		}
	})
	for i, event := range events {
		if !got[event] || !left[event] {
			t.Errorf("event %d was there: %t, and when it was put back: %t", i, got[event], left[event])
		}
	}
	if !first.isDuplicate(batch("shop/a", events...)) {
		t.Error("finished, it is a duplicate still")
	}
}

// intruders tries to join with a wrong password, with a certificate of another CA, and without TLS. All are refused.
func (c *cluster) intruders() {
	c.t.Helper()
	for name, test := range map[string]struct {
		want   string // in the log
		change func(*engine.Cluster)
	}{
		"password":    {"Authorization Violation", func(e *engine.Cluster) { e.Password = "another" }},
		"certificate": {"certificate signed by unknown authority", func(e *engine.Cluster) { e.TLS = certificates(c.t) }},
		"no TLS":      {"TLS route handshake error", func(e *engine.Cluster) { e.TLS = engine.TLSFiles{} }},
	} {
		c.intrude(name, test.want, test.change)
	}
}

// intrude starts another member with a configuration that must be refused, and waits for a log line about it.
func (c *cluster) intrude(name, want string, change func(*engine.Cluster)) {
	c.t.Helper()
	logged, before := &logbuffer.Buffer{}, len(c.logged.String())
	e := c.engine(0)
	e.Dir, e.Name, e.Listen = c.t.TempDir(), "intruder", "127.0.0.1:"+strconv.Itoa(freePort(c.t))
	e.Logger = slog.New(slog.NewTextHandler(logged, nil))
	change(e)
	ctx, cancel := context.WithCancel(c.t.Context())
	ended := make(chan error, 1)
	j := journal.New(journal.Options{Engine: e, Limits: c.limits, Replicas: engine.ClusterMembers, Logger: e.Logger})
	go func() { ended <- j.Run(ctx) }()
	until(c.t, "a refusal because of the "+name, func() bool { return strings.Contains(logged.String()+c.logged.String()[before:], want) })
	if _, err := j.Append(ctx, batch("shop/a", "1")); !errors.Is(err, journal.ErrUnavailable) {
		c.t.Errorf("%s: got %v", name, err)
	}
	cancel()
	if err := <-ended; err != nil {
		c.t.Error(err)
	}
}

// A directory belongs to one kind of engine, so that no batches are left behind unseen.
func TestDirectoryOfAnotherEngine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir, journal.MinBytes).stop()
	if err := refused(t, journal.Options{Engine: &engine.Cluster{Dir: dir}}); err == nil || !strings.Contains(err.Error(), "--buffer=embedded") {
		t.Errorf("got %v", err)
	}
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "cluster"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := refused(t, journal.Options{Engine: &engine.Embedded{Dir: dir}}); err == nil || !strings.Contains(err.Error(), "--buffer=cluster") {
		t.Errorf("got %v", err)
	}
}

// A new CA needs no restart: certificates are trusted as long as the file has their CA.
func TestClusterCARotation(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	files, before, after := c.files, read(t, c.files), read(t, certificates(t))
	changes := 0
	reloaded := func() {
		t.Helper()
		changes += engine.ClusterMembers
		until(t, "all members reload the CA", func() bool {
			return strings.Count(c.logged.String(), "Reloaded the cluster CA") == changes
		})
	}
	rewrite(t, files, engine.TLSFiles{CA: before.CA + after.CA, Cert: before.Cert, Key: before.Key})
	reloaded()
	rewrite(t, files, after)
	reloaded()
	c.members[0].stop()
	c.start(0)
	c.joined(0)
	journaltest.Append(t, c.members[0].Journal, batch("shop/a", "1"))
	c.files = certificates(t)
	rewrite(t, c.files, engine.TLSFiles{CA: before.CA + after.CA, Cert: before.Cert, Key: before.Key})
	c.intrude("old CA", "certificate signed by unknown authority", func(*engine.Cluster) {})
}

// read returns the contents of files in place of their names.
func read(t *testing.T, files engine.TLSFiles) engine.TLSFiles {
	t.Helper()
	for _, file := range []*string{&files.CA, &files.Cert, &files.Key} {
		data, err := os.ReadFile(*file)
		if err != nil {
			t.Fatal(err)
		}
		*file = string(data)
	}
	return files
}

// rewrite replaces the contents of files.
func rewrite(t *testing.T, files, texts engine.TLSFiles) {
	t.Helper()
	for path, text := range map[string]string{files.CA: texts.CA, files.Cert: texts.Cert, files.Key: texts.Key} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
