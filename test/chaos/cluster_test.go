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
	senderCount = 6 // of a webhook each; some of them may wait for a member that does not answer
)

// cluster is three receivers with one buffer, behind a load balancer that asks nobody.
type cluster struct {
	t         *testing.T
	ledger      *ledger
	monitor     *deliveryMonitor
	sinks     []*sinkServer
	receivers []*receiver
	sender    *sender
}

// newCluster starts one on loopback, or with a network each member in a namespace, where it has a consumer of its own. Both
// are reached from here whatever becomes of the network.
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
			peers[i] = fmt.Sprintf("%s:%d", network.host(i), 6222+i) // a member's name has the port
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
		for _, each := range change {
			each(r)
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

// unhurried gives two members that deliver at the same time the occasion to be seen.
func delayBriefly(http.ResponseWriter, *http.Request) bool {
	<-time.After(5 * time.Millisecond)
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

// goOn waits until some batches more are acknowledged.
func (c *cluster) awaitProgress(what string) {
	c.t.Helper()
	before, _ := c.ledger.count()
	c.receivers[0].await(what, func() bool { now, _ := c.ledger.count(); return now >= before+10*c.sender.events })
}

// finish waits for everything and says how it went.
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
			c.t.Errorf("batches got %v", statuses)
		}
	}
	c.t.Logf("answers %v", statuses)
	addResult("cluster of three: %s | %d events acknowledged, %d lost, %d delivered twice, order kept; the slowest answer took %s; acknowledgements paused for %s at most, delivery for %s",
		fmt.Sprintf(format, args...), acked, lost, c.ledger.duplicateCount(), seconds(slowest), seconds(c.sender.longestGap), seconds(pause))
}

func seconds(d time.Duration) time.Duration { return d.Round(time.Second / 10) }

// Each of three is killed in turn. The other two go on.
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
	c.checkAndReport("each killed in turn, %d times", rounds*len(killed))
}

// Each of three is restarted in turn, as by a rollout.
func TestClusterSurvivesRollingRestart(t *testing.T) {
	t.Parallel()
	if !*long {
		t.Skip("for make chaos")
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
	c.checkAndReport("each restarted in turn, %d times", rounds*memberCount)
}

// leader is the member that delivers.
func (c *cluster) leader() (member int) {
	c.t.Helper()
	c.receivers[0].await("one delivers", func() bool {
		member = slices.IndexFunc(c.receivers, func(r *receiver) bool { return r.metric("mandrill_receiver_buffer_leader") > 0 })
		delivers, _ := c.monitor.current()
		return member >= 0 && member == delivers
	})
	return member
}

// Members are cut off from the others, at first the one that delivers, without anybody being told. The other two go on.
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
		cut := time.Now()
		unready = max(unready, r.await("the one that is cut off says that it is not ready", func() bool { return !r.ready() }))
		c.awaitProgress("batches are acknowledged by the other two")
		r.await("another delivers", func() bool { delivers, _ := c.monitor.current(); return delivers != member })
		if _, since := c.monitor.current(); member == leader {
			handover = max(handover, since.Sub(cut))
		}
		for time.Since(cut) < time.Duration(shortOrLong(0, 30))*time.Second {
			c.awaitProgress("batches are acknowledged by the other two")
		}
		network.setPartitioned(member, false)
		r.await("the one that was cut off is ready", r.ready)
	}
	c.awaitProgress("batches are acknowledged by all")
	stop()
	c.checkAndReport("members cut off from the others without a word, %d times, not ready after %s; where it was the one that delivers another did after %s",
		rounds, seconds(unready), seconds(handover))
}

// Two of three do not see each other, but the third. Batches are acknowledged.
func TestClusterSurvivesSeparatedPair(t *testing.T) {
	t.Parallel()
	if !*long {
		t.Skip("for make chaos")
	}
	network := newNetwork(t)
	c := newCluster(t, network)
	stop := c.startSending()
	for third := range memberCount {
		c.awaitProgress("batches are acknowledged")
		one, other := (third+1)%memberCount, (third+2)%memberCount
		network.setSeparated(one, other, true)
		for parted := time.Now(); time.Since(parted) < 30*time.Second; {
			c.awaitProgress("batches are acknowledged")
		}
		network.setSeparated(one, other, false)
		for _, r := range c.receivers {
			r.await("all are ready", r.ready)
		}
	}
	c.awaitProgress("batches are acknowledged")
	stop()
	c.checkAndReport("each two kept apart in turn for 30 s, of which the third sees both")
}

// Three whose volumes are too small for the buffer fill them while the sink is down. When it works again everything is
// delivered and makes room, without anybody's help.
func TestClusterRecoversFromFullVolumes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil, func(r *receiver) {
		v := newVolume(t, "size=160m")
		r.launcher, r.dir = v.enter(), filepath.Join(v.path, "buffer")
		r.args = append(r.args, "--buffer-dir", r.dir)
	})
	c.sender.padding, c.sender.interval = incompressible(64<<10), 0
	each := func(do func(*sinkServer)) {
		for _, sink := range c.sinks {
			do(sink)
		}
	}
	each((*sinkServer).down)
	stop := c.startSending()
	rounds := shortOrLong(1, 3)
	for range rounds {
		for _, r := range c.receivers {
			r.await("none is ready", func() bool { return !r.ready() })
		}
		each((*sinkServer).up)
		c.awaitProgress("batches are acknowledged again")
		each((*sinkServer).down)
	}
	each((*sinkServer).up)
	stop()
	c.checkAndReport("volumes smaller than the buffer may be, filled %d times while the sink was down", rounds)
}
