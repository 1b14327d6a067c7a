package chaos_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	members = 3
	senders = 6 // of a webhook each; some of them may wait for a member that does not answer
)

// cluster is three receivers with one buffer, behind a load balancer that asks nobody.
type cluster struct {
	t         *testing.T
	book      *ledger
	turns     *turns
	sinks     []*consumer
	receivers []*receiver
	sender    *sender
}

// newCluster starts one on loopback, or with a network each member in a namespace, where it has a consumer of its own. Both
// are reached from here whatever becomes of the network.
func newCluster(t *testing.T, network *network, change ...func(*receiver)) *cluster {
	t.Helper()
	c := &cluster{t: t, book: newLedger(), turns: &turns{t: t, member: -1}}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("a password of the members"), 0o600); err != nil {
		t.Fatal(err)
	}
	peers := make([]string, members)
	for i := range peers {
		if peers[i] = freeAddress(t); network != nil {
			peers[i] = fmt.Sprintf("%s:%d", network.host(i), 6222+i) // a member's name has the port
		}
	}
	for i := range members {
		sink := newConsumer(t, c.book)
		sink.begin = func() func() { return c.turns.begin(i) }
		for webhook := range senders {
			sink.behave(webhook, unhurried)
		}
		if network != nil {
			sink.address, sink.listen = "127.0.0.1:8082", network.members[i].listen
		}
		sink.up()
		c.sinks = append(c.sinks, sink)
		r := newReceiver(t, writeRoutes(t, "backoffDelay: PT0.2S", sink.uris(senders)...), "--buffer", "cluster", "--buffer-max-bytes", "536870912",
			"--buffer-password-file", password, "--buffer-listen", peers[i], "--buffer-peers", strings.Join(peers, ","), "--buffer-insecure")
		if network != nil {
			r.address, r.health = fmt.Sprintf("127.0.0.%d:8080", i+1), "127.0.0.1:8081"
			r.wrap, r.transport.DialContext = network.members[i].wrap(), network.members[i].dial
		}
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
	c.sender.events, c.sender.pace, c.sender.pause, c.sender.patience = 20, 150*time.Millisecond, 20*time.Millisecond, 15*time.Second
	return c
}

// unhurried gives two members that deliver at the same time the occasion to be seen.
func unhurried(http.ResponseWriter, *http.Request) bool {
	<-time.After(5 * time.Millisecond)
	return false
}

func (c *cluster) send() (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var sending sync.WaitGroup
	for webhook := range senders {
		sending.Go(func() { c.sender.run(ctx, c.t.Context(), webhook) })
	}
	return func() { cancel(); sending.Wait() }
}

// goOn waits until some batches more are acknowledged.
func (c *cluster) goOn(what string) {
	c.t.Helper()
	before, _ := c.book.count()
	c.receivers[0].await(what, func() bool { now, _ := c.book.count(); return now >= before+10*c.sender.events })
}

// finish waits for everything and says how it went.
func (c *cluster) finish(format string, args ...any) {
	c.t.Helper()
	c.book.settle(c.t)
	clashes, pause := c.turns.count()
	if clashes > 0 {
		c.t.Errorf("%d requests came from one member while another delivered", clashes)
	}
	acked, lost := c.book.count()
	statuses, slowest := c.sender.answers()
	for status := range statuses {
		if status != http.StatusOK && status != http.StatusServiceUnavailable && status != 0 {
			c.t.Errorf("batches got %v", statuses)
		}
	}
	c.t.Logf("answers %v", statuses)
	result("cluster of three: %s | %d events acknowledged, %d lost, %d delivered twice, order kept; the slowest answer took %s; acknowledgements paused for %s at most, delivery for %s",
		fmt.Sprintf(format, args...), acked, lost, c.book.repeated(), seconds(slowest), seconds(c.sender.gap), seconds(pause))
}

func seconds(d time.Duration) time.Duration { return d.Round(time.Second / 10) }

// Each of three is killed in turn. The other two go on.
func TestClusterKill(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	stop := c.send()
	c.goOn("batches are acknowledged")
	rounds := choose(1, 5)
	killed := c.receivers[:choose(1, members)]
	for range rounds {
		for _, r := range killed {
			r.kill()
			c.goOn("batches are acknowledged by the other two")
			r.started()
			c.goOn("batches are acknowledged by all")
		}
	}
	stop()
	c.finish("each killed in turn, %d times", rounds*len(killed))
}

// Each of three is restarted in turn, as by a rollout.
func TestClusterRollingRestart(t *testing.T) {
	t.Parallel()
	if !*long {
		t.Skip("for make chaos")
	}
	c := newCluster(t, nil)
	stop := c.send()
	rounds := choose(1, 5)
	for range rounds {
		for _, r := range c.receivers {
			c.goOn("batches are acknowledged")
			r.stop()
			c.goOn("batches are acknowledged by the other two")
			r.started()
		}
	}
	stop()
	c.finish("each restarted in turn, %d times", rounds*members)
}

// leader is the member that delivers.
func (c *cluster) leader() (member int) {
	c.t.Helper()
	c.receivers[0].await("one delivers", func() bool {
		member = slices.IndexFunc(c.receivers, func(r *receiver) bool { return r.metric("mandrill_receiver_buffer_leader") > 0 })
		delivers, _ := c.turns.who()
		return member >= 0 && member == delivers
	})
	return member
}

// Members are cut off from the others, at first the one that delivers, without anybody being told. The other two go on.
func TestClusterPartition(t *testing.T) {
	t.Parallel()
	network := newNetwork(t)
	c := newCluster(t, network)
	stop := c.send()
	var unready, handover time.Duration
	rounds := choose(1, members+1)
	for round := range rounds {
		c.goOn("batches are acknowledged")
		member, leader := round-1, c.leader()
		if round == 0 {
			member = leader
		}
		r := c.receivers[member]
		network.cut(member, true)
		cut := time.Now()
		unready = max(unready, r.await("the one that is cut off says that it is not ready", func() bool { return !r.ready() }))
		c.goOn("batches are acknowledged by the other two")
		r.await("another delivers", func() bool { delivers, _ := c.turns.who(); return delivers != member })
		if _, since := c.turns.who(); member == leader {
			handover = max(handover, since.Sub(cut))
		}
		for time.Since(cut) < time.Duration(choose(0, 30))*time.Second {
			c.goOn("batches are acknowledged by the other two")
		}
		network.cut(member, false)
		r.await("the one that was cut off is ready", r.ready)
	}
	c.goOn("batches are acknowledged by all")
	stop()
	c.finish("members cut off from the others without a word, %d times, not ready after %s; where it was the one that delivers another did after %s",
		rounds, seconds(unready), seconds(handover))
}

// Two of three do not see each other, but the third. Batches are acknowledged.
func TestClusterPartedPair(t *testing.T) {
	t.Parallel()
	if !*long {
		t.Skip("for make chaos")
	}
	network := newNetwork(t)
	c := newCluster(t, network)
	stop := c.send()
	for third := range members {
		c.goOn("batches are acknowledged")
		one, other := (third+1)%members, (third+2)%members
		network.part(one, other, true)
		for parted := time.Now(); time.Since(parted) < 30*time.Second; {
			c.goOn("batches are acknowledged")
		}
		network.part(one, other, false)
		for _, r := range c.receivers {
			r.await("all are ready", r.ready)
		}
	}
	c.goOn("batches are acknowledged")
	stop()
	c.finish("each two kept apart in turn for 30 s, of which the third sees both")
}

// Three whose volumes are too small for the buffer fill them while the sink is down. When it works again everything is
// delivered and makes room, without anybody's help.
func TestClusterDisksTooSmall(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil, func(r *receiver) {
		v := newVolume(t, "size=160m")
		r.wrap, r.dir = v.wrap(), filepath.Join(v.path, "buffer")
		r.args = append(r.args, "--buffer-dir", r.dir)
	})
	c.sender.padding, c.sender.pace = noise(64<<10), 0
	each := func(do func(*consumer)) {
		for _, sink := range c.sinks {
			do(sink)
		}
	}
	each((*consumer).down)
	stop := c.send()
	rounds := choose(1, 3)
	for range rounds {
		for _, r := range c.receivers {
			r.await("none is ready", func() bool { return !r.ready() })
		}
		each((*consumer).up)
		c.goOn("batches are acknowledged again")
		each((*consumer).down)
	}
	each((*consumer).up)
	stop()
	c.finish("volumes smaller than the buffer may be, filled %d times while the sink was down", rounds)
}
