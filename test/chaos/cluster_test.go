package chaos_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const members = 3

// cluster is three receivers with one buffer, behind a load balancer that asks nobody.
type cluster struct {
	t         *testing.T
	book      *ledger
	sink      *consumer
	receivers []*receiver
	wires     [members][members]*wire // from, to
	sender    *sender
}

func newCluster(t *testing.T, change ...func(*receiver)) *cluster {
	t.Helper()
	c := &cluster{t: t, book: newLedger()}
	c.sink = newConsumer(t, c.book)
	c.sink.up()
	config := writeRoutes(t, "backoffDelay: PT0.2S", c.sink.uris(2)...)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("a password of the members"), 0o600); err != nil {
		t.Fatal(err)
	}
	addresses := [members]string{}
	for i := range addresses {
		// Members tell each other where a third one connects from. By these addresses nobody gets past the wires.
		addresses[i] = freeAddressOf(t, "127.0.77."+strconv.Itoa(i+1))
	}
	for i := range members {
		peers := make([]string, members)
		for k := range peers {
			c.wires[i][k] = newWire(t, addresses[k])
			peers[k] = c.wires[i][k].address
		}
		r := newReceiver(t, config, "--buffer", "cluster", "--buffer-max-bytes", "536870912", "--buffer-password-file", password,
			"--buffer-listen", addresses[i], "--buffer-peers", strings.Join(peers, ","))
		c.receivers = append(c.receivers, r)
		for _, each := range change {
			each(r)
		}
		r.start()
	}
	for _, r := range c.receivers {
		r.await("the cluster is ready", r.ready)
	}
	c.sender = newSender(c.book, c.receivers...)
	c.sender.events, c.sender.pace, c.sender.pause = 20, 50*time.Millisecond, 20*time.Millisecond
	c.sender.client.Timeout = 15 * time.Second
	return c
}

func (c *cluster) send() (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var senders sync.WaitGroup
	for webhook := range 2 {
		senders.Go(func() { c.sender.run(ctx, c.t.Context(), webhook) })
	}
	return func() { cancel(); senders.Wait() }
}

// goOn waits until some batches more are acknowledged, and returns how long it took.
func (c *cluster) goOn(what string) time.Duration {
	c.t.Helper()
	before, _ := c.book.count()
	return c.receivers[0].await(what, func() bool { now, _ := c.book.count(); return now >= before+10*c.sender.events })
}

func (c *cluster) finish(what string, longest time.Duration) {
	c.t.Helper()
	c.book.settle(c.t)
	acked, lost := c.book.count()
	statuses, slowest := c.sender.answers()
	for status := range statuses {
		if status != http.StatusOK && status != http.StatusServiceUnavailable && status != 0 {
			c.t.Errorf("batches got %v", statuses)
		}
	}
	c.t.Logf("answers %v, the slowest after %s", statuses, slowest)
	result("cluster of three: %s | %d events acknowledged, %d lost, %d delivered twice, order kept; ten batches more were acknowledged within %s each time",
		what, acked, lost, c.book.duplicates, longest.Round(10*time.Millisecond))
}

// Each of three is killed in turn. The other two go on.
func TestClusterKill(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	stop := c.send()
	c.goOn("batches are acknowledged")
	var longest time.Duration
	rounds := choose(1, 5)
	killed := c.receivers[:choose(1, members)]
	for range rounds {
		for _, r := range killed {
			r.kill()
			longest = max(longest, c.goOn("batches are acknowledged by the other two"))
			r.started()
			longest = max(longest, c.goOn("batches are acknowledged by all"))
		}
	}
	stop()
	c.finish("each killed in turn, "+strconv.Itoa(rounds*len(killed))+" times", longest)
}

// Each of three is restarted in turn, as by a rollout.
func TestClusterRollingRestart(t *testing.T) {
	t.Parallel()
	if !*long {
		t.Skip("for make chaos")
	}
	c := newCluster(t)
	stop := c.send()
	var longest time.Duration
	rounds := choose(1, 5)
	for range rounds {
		for _, r := range c.receivers {
			longest = max(longest, c.goOn("batches are acknowledged"))
			r.stop()
			longest = max(longest, c.goOn("batches are acknowledged by the other two"))
			r.started()
		}
	}
	stop()
	c.finish("each restarted in turn, "+strconv.Itoa(rounds*members)+" times", longest)
}

// Each of three is cut off from the others in turn, without anybody being told. The other two go on.
func TestClusterPartition(t *testing.T) {
	t.Parallel()
	if !*long {
		t.Skip("for make chaos")
	}
	c := newCluster(t)
	stop := c.send()
	var longest, unready time.Duration
	for i, r := range c.receivers {
		c.goOn("batches are acknowledged")
		c.cut(i, true)
		cut := time.Now()
		unready = max(unready, r.await("the one that is cut off says that it is not ready", func() bool { return !r.ready() }))
		for time.Since(cut) < 30*time.Second {
			longest = max(longest, c.goOn("batches are acknowledged by the other two"))
		}
		c.cut(i, false)
		r.await("the one that was cut off is ready", r.ready)
	}
	longest = max(longest, c.goOn("batches are acknowledged"))
	stop()
	c.finish("each cut off from the others in turn for 30 s, and not ready after "+unready.Round(time.Second/10).String(), longest)
}

// cut takes a member's wires away, or gives them back.
func (c *cluster) cut(member int, cut bool) {
	for other := range members {
		if other != member {
			c.wires[member][other].cut.Store(cut)
			c.wires[other][member].cut.Store(cut)
		}
	}
}

// Three whose volumes are too small for the buffer fill them while the sink is down. When it works again everything is
// delivered and makes room, without anybody's help.
func TestClusterDisksTooSmall(t *testing.T) {
	t.Parallel()
	c := newCluster(t, func(r *receiver) {
		v := newVolume(t, "size=160m")
		r.wrap, r.dir = v.wrap(), filepath.Join(v.path, "buffer")
		r.args = append(r.args, "--buffer-dir", r.dir)
	})
	c.sender.padding, c.sender.pace = noise(64<<10), 0
	c.sink.down()
	stop := c.send()
	var longest time.Duration
	rounds := choose(1, 3)
	for range rounds {
		for _, r := range c.receivers {
			r.await("none is ready", func() bool { return !r.ready() })
		}
		c.sink.up()
		longest = max(longest, c.goOn("batches are acknowledged again"))
		c.sink.down()
	}
	c.sink.up()
	stop()
	c.finish("volumes smaller than the buffer may be, filled "+strconv.Itoa(rounds)+" times while the sink was down", longest)
}
