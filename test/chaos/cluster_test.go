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
	memberCount = 3
	senderCount = 6 // one for each webhook, so that some can wait for a member that does not answer
)

// cluster is three receivers with one buffer, behind a load balancer without health checks.
type cluster struct {
	t         *testing.T
	ledger    *ledger
	monitor   *deliveryMonitor
	sinks     []*sinkServer
	receivers []*receiver
	sender    *sender
}

// newCluster starts a cluster on loopback. With a network, each member is in its own namespace, with its own sinks; the test reaches
// both even while the member is partitioned.
func newCluster(t *testing.T, network *network, change ...func(*receiver)) *cluster {
	t.Helper()
	c := &cluster{t: t, ledger: newLedger(), monitor: &deliveryMonitor{t: t, deliverer: -1}}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("a password of the members"), 0o600); err != nil {
		t.Fatal(err)
	}
	peers := make([]string, memberCount)
	for i := range peers {
		if peers[i] = freeAddress(t); network != nil {
			peers[i] = fmt.Sprintf("%s:%d", network.host(i), 6222+i) // the port is a part of a member's name
		}
	}
	for i := range memberCount {
		sink := newSinkServer(t, c.ledger)
		sink.onRequest = func() func() { return c.monitor.begin(i) }
		for webhook := range senderCount {
			sink.setBehaviour(webhook, delayBriefly)
		}
		if network != nil {
			sink.address, sink.listen = "127.0.0.1:8082", network.members[i].listen
		}
		sink.up()
		c.sinks = append(c.sinks, sink)
		r := newReceiver(t, writeRoutes(t, "backoffDelay: PT0.2S", sink.uris(senderCount)...), "--buffer", "cluster", "--buffer-max-bytes", "536870912",
			"--buffer-password-file", password, "--buffer-listen", peers[i], "--buffer-peers", strings.Join(peers, ","), "--buffer-insecure")
		if network != nil {
			r.address, r.health = fmt.Sprintf("127.0.0.%d:8080", i+1), "127.0.0.1:8081"
			r.launcher, r.transport.DialContext = network.members[i].enter(), network.members[i].dial
		}
		c.receivers = append(c.receivers, r)
		for _, configure := range change {
			configure(r)
		}
		r.start()
	}
	for _, r := range c.receivers {
		r.await("the cluster is ready", r.ready)
	}
	c.sender = newSender(c.ledger, c.receivers...)
	c.sender.events, c.sender.interval, c.sender.retryDelay, c.sender.timeout = 20, 150*time.Millisecond, 20*time.Millisecond, 15*time.Second
	return c
}

// delayBriefly makes requests long enough for those of two members to overlap.
func delayBriefly(_ http.ResponseWriter, r *http.Request) bool {
	elapse(r.Context(), 5*time.Millisecond)
	return false
}

func (c *cluster) startSending() (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var sending sync.WaitGroup
	for webhook := range senderCount {
		sending.Go(func() { c.sender.run(ctx, c.t.Context(), webhook) })
	}
	return func() { cancel(); sending.Wait() }
}

// awaitProgress waits until more batches are acknowledged.
func (c *cluster) awaitProgress(what string) {
	c.t.Helper()
	before, _ := c.ledger.count()
	c.receivers[0].await(what, func() bool { now, _ := c.ledger.count(); return now >= before+10*c.sender.events })
}

// checkAndReport waits for the delivery of everything, checks the run and adds its result.
func (c *cluster) checkAndReport(format string, args ...any) {
	c.t.Helper()
	c.ledger.awaitDelivery(c.t)
	clashes, pause := c.monitor.stats()
	if clashes > 0 {
		c.t.Errorf("%d requests came from one member while another delivered", clashes)
	}
	acked, lost := c.ledger.count()
	statuses, slowest := c.sender.answers()
	for status := range statuses {
		if status != http.StatusOK && status != http.StatusServiceUnavailable && status != 0 {
			c.t.Errorf("batches got the statuses %v", statuses)
		}
	}
	c.t.Logf("statuses %v", statuses)
	addResult("cluster: %s | %d events acknowledged, %d lost, %d repeated, in order; slowest answer %s; longest pause of acknowledgements %s, of delivery %s",
		fmt.Sprintf(format, args...), acked, lost, c.ledger.duplicateCount(), seconds(slowest), seconds(c.sender.longestGap), seconds(pause))
}

func seconds(d time.Duration) time.Duration { return d.Round(time.Second / 10) }

// Each of the three members is killed in turn. The other two continue.
func TestClusterSurvivesKill(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	stop := c.startSending()
	c.awaitProgress("batches are acknowledged")
	rounds := shortOrLong(1, 5)
	killed := c.receivers[:shortOrLong(1, memberCount)]
	for range rounds {
		for _, r := range killed {
			r.kill()
			c.awaitProgress("batches are acknowledged by the other two")
			r.startAndWait()
			c.awaitProgress("batches are acknowledged by all")
		}
	}
	stop()
	c.checkAndReport("each member killed in turn, %d times", rounds*len(killed))
}

// Each of the three members is restarted in turn, as by a rollout.
func TestClusterSurvivesRollingRestart(t *testing.T) {
	t.Parallel()
	if !*long {
		t.Skip("only with -long")
	}
	c := newCluster(t, nil)
	stop := c.startSending()
	rounds := shortOrLong(1, 5)
	for range rounds {
		for _, r := range c.receivers {
			c.awaitProgress("batches are acknowledged")
			r.stop()
			c.awaitProgress("batches are acknowledged by the other two")
			r.startAndWait()
		}
	}
	stop()
	c.checkAndReport("each member restarted in turn, %d times", rounds*memberCount)
}

// leader returns the member that delivers.
func (c *cluster) leader() (member int) {
	c.t.Helper()
	c.receivers[0].await("one member delivers", func() bool {
		member = slices.IndexFunc(c.receivers, func(r *receiver) bool { return r.metric("mandrill_receiver_buffer_leader") > 0 })
		delivers, _ := c.monitor.current()
		return member >= 0 && member == delivers
	})
	return member
}

// Members are partitioned without notice: packets are dropped, links stay up. The leader is first. The other two continue.
func TestClusterSurvivesPartition(t *testing.T) {
	t.Parallel()
	network := newNetwork(t)
	c := newCluster(t, network)
	stop := c.startSending()
	var unready, handover time.Duration
	rounds := shortOrLong(1, memberCount+1)
	for round := range rounds {
		c.awaitProgress("batches are acknowledged")
		member, leader := round-1, c.leader()
		if round == 0 {
			member = leader
		}
		r := c.receivers[member]
		network.setPartitioned(member, true)
		cutAt := time.Now()
		unready = max(unready, r.await("the partitioned member is not ready", func() bool { return !r.ready() }))
		c.awaitProgress("batches are acknowledged by the other two")
		r.await("another member delivers", func() bool { delivers, _ := c.monitor.current(); return delivers != member })
		if _, since := c.monitor.current(); member == leader {
			handover = max(handover, since.Sub(cutAt))
		}
		for time.Since(cutAt) < time.Duration(shortOrLong(0, 30))*time.Second {
			c.awaitProgress("batches are acknowledged by the other two")
		}
		network.setPartitioned(member, false)
		r.await("the member is ready again", r.ready)
	}
	c.awaitProgress("batches are acknowledged by all")
	stop()
	c.checkAndReport("a member partitioned without notice, %d times, not ready after %s, new leader after %s if it was the leader",
		rounds, seconds(unready), seconds(handover))
}

// Two of the three members do not see each other, but both see the third. Batches are still acknowledged.
func TestClusterSurvivesSeparatedPair(t *testing.T) {
	t.Parallel()
	if !*long {
		t.Skip("only with -long")
	}
	network := newNetwork(t)
	c := newCluster(t, network)
	stop := c.startSending()
	for third := range memberCount {
		c.awaitProgress("batches are acknowledged")
		first, second := (third+1)%memberCount, (third+2)%memberCount
		network.setSeparated(first, second, true)
		for separated := time.Now(); time.Since(separated) < 30*time.Second; {
			c.awaitProgress("batches are acknowledged")
		}
		network.setSeparated(first, second, false)
		for _, r := range c.receivers {
			r.await("all members are ready", r.ready)
		}
	}
	c.awaitProgress("batches are acknowledged")
	stop()
	c.checkAndReport("each pair of members separated in turn for 30 s, the third sees both")
}

// The volumes are smaller than the buffer's limit, and fill up while the sinks are down. When the sinks are up again, delivery frees
// space without intervention.
func TestClusterRecoversFromFullVolumes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil, func(r *receiver) {
		v := newVolume(t, "size=160m")
		r.launcher, r.dir = v.enter(), filepath.Join(v.path, "buffer")
		r.args = append(r.args, "--buffer-dir", r.dir)
	})
	c.sender.padding, c.sender.interval = incompressible(64<<10), 0
	forEachSink := func(do func(*sinkServer)) {
		for _, sink := range c.sinks {
			do(sink)
		}
	}
	forEachSink((*sinkServer).down)
	stop := c.startSending()
	rounds := shortOrLong(1, 3)
	for range rounds {
		for _, r := range c.receivers {
			r.await("no member is ready", func() bool { return !r.ready() })
		}
		forEachSink((*sinkServer).up)
		c.awaitProgress("batches are acknowledged again")
		forEachSink((*sinkServer).down)
	}
	forEachSink((*sinkServer).up)
	stop()
	c.checkAndReport("volumes smaller than the buffer limit, full %d times while the sinks were down", rounds)
}
