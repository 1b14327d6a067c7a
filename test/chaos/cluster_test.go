package chaos_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	memberCount = 3
	senderCount = 6 // one for each webhook, so that some can wait for a member that does not answer
)

// members are receivers that share a buffer, behind a load balancer without health checks.
type members struct {
	t         *testing.T
	ledger    *ledger
	monitor   *deliveryMonitor
	network   *network
	webhooks  int
	sinks     []*sinkServer
	receivers []*receiver
	sender    *sender
}

// newMembers prepares some members on loopback, with their own sinks, to know which of them delivers. With a network, each is in its own
// namespace; the test reaches both even while the member is partitioned. The arguments are those of the buffer, by member.
func newMembers(t *testing.T, network *network, count, webhooks int, arguments func(member int) []string) *members {
	t.Helper()
	m := &members{t: t, ledger: newLedger(), monitor: newDeliveryMonitor(), network: network, webhooks: webhooks}
	for i := range count {
		sink := newSinkServer(t, m.ledger)
		sink.onRequest = func(webhook int) func() { return m.monitor.begin(i, webhook) }
		for webhook := range webhooks {
			sink.setBehaviour(webhook, delayBriefly)
		}
		if network != nil {
			sink.address, sink.listen = "127.0.0.1:8082", network.members[i].listen
		}
		sink.up()
		m.sinks = append(m.sinks, sink)
		r := newReceiver(t, writeRoutes(t, "backoffDelay: PT0.2S", sink.uris(webhooks)...), arguments(i)...)
		if network != nil {
			r.address, r.health = fmt.Sprintf("127.0.0.%d:8080", i+1), "127.0.0.1:8081"
			r.launcher, r.transport.DialContext = network.members[i].enter(), network.members[i].dial
		}
		m.receivers = append(m.receivers, r)
	}
	m.sender = newSender(t, m.ledger, m.receivers...)
	m.sender.retryDelay, m.sender.timeout = 20*time.Millisecond, 15*time.Second
	return m
}

// newCluster starts a cluster of three.
func newCluster(t *testing.T, network *network, change ...func(*receiver)) *members {
	t.Helper()
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
	c := newMembers(t, network, memberCount, senderCount, func(member int) []string {
		return []string{"--buffer", "cluster", "--buffer-max-bytes", "536870912",
			"--buffer-password-file", password, "--buffer-listen", peers[member], "--buffer-peers", strings.Join(peers, ","), "--buffer-insecure"}
	})
	for _, r := range c.receivers {
		for _, configure := range change {
			configure(r)
		}
		r.start()
	}
	for _, r := range c.receivers {
		r.await("the cluster is ready", r.ready)
	}
	c.sender.events, c.sender.interval = 20, 150*time.Millisecond
	return c
}

// delayBriefly makes requests long enough for those of two members to overlap.
func delayBriefly(_ http.ResponseWriter, r *http.Request) bool {
	elapse(r.Context(), 5*time.Millisecond)
	return false
}

func (c *members) startSending() (stop func()) { return c.sender.start(c.webhooks) }

// awaitProgress waits until more batches are acknowledged.
func (c *members) awaitProgress(what string) {
	c.t.Helper()
	before, _ := c.ledger.count()
	c.receivers[0].await(what, func() bool { now, _ := c.ledger.count(); return now >= before+10*c.sender.events })
}

// checkAndReport waits for the delivery of everything, checks the run and adds its result.
func (c *members) checkAndReport(format string, args ...any) {
	c.t.Helper()
	c.ledger.awaitDelivery(c.t)
	if c.t.Failed() {
		c.logBacklog()
	}
	clashes, pause := c.monitor.stats()
	if clashes > 0 {
		c.t.Errorf("%d requests came from one member while another delivered the webhook", clashes)
	}
	acked, lost := c.ledger.count()
	statuses, slowest := c.sender.answers()
	for status := range statuses {
		if status != http.StatusOK && status != http.StatusServiceUnavailable && status != 0 {
			c.t.Errorf("batches got the statuses %v", statuses)
		}
	}
	c.t.Logf("statuses %v", statuses)
	for i, r := range c.receivers {
		c.t.Logf("receiver %d logged %v; %d batches were refused as in process", i, r.logCounts("WARN", "ERROR"), r.countInLog("message id is in process"))
	}
	addResult("%s | %d events acknowledged, %d lost, %d repeated, in order; slowest answer %s; longest pause of acknowledgements %s, of delivery of a webhook %s",
		fmt.Sprintf(format, args...), acked, lost, c.ledger.duplicateCount(), seconds(slowest), seconds(c.sender.longestGap), seconds(pause))
}

// logBacklog logs what the first member that is ready has in its backlog, where events are late, and its dead letters.
func (c *members) logBacklog() {
	for i, r := range c.receivers {
		if r.ready() {
			var backlog json.RawMessage
			r.admin(http.MethodGet, "/backlog", "", &backlog)
			c.t.Logf("receiver %d has the dead letters %+v and the backlog %s", i, r.deadLetters(""), backlog)
			return
		}
	}
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
	c.checkAndReport("cluster: each member killed in turn, %d times", rounds*len(killed))
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
	c.checkAndReport("cluster: each member restarted in turn, %d times", rounds*memberCount)
}

// Members are partitioned without notice: packets are dropped, links stay up. The other two continue, and deliver its webhooks.
func TestClusterSurvivesPartition(t *testing.T) {
	t.Parallel()
	network := newNetwork(t, memberCount)
	c := newCluster(t, network)
	stop := c.startSending()
	var unready, handover time.Duration
	first := 0
	rounds := shortOrLong(1, memberCount+1)
	for round := range rounds {
		c.awaitProgress("batches are acknowledged")
		if c.awaitDeliverers(); round == 0 {
			first = c.busiest()
		}
		member := (first + round) % memberCount
		r, owned := c.receivers[member], c.monitor.deliveredBy(member)
		network.setPartitioned(member, true)
		cutAt := time.Now()
		unready = max(unready, r.await("the partitioned member is not ready", func() bool { return !r.ready() }))
		c.awaitProgress("batches are acknowledged by the other two")
		r.await("others deliver its webhooks", func() bool { return len(c.monitor.deliveredBy(member)) == 0 })
		if len(owned) > 0 {
			handover = max(handover, c.monitor.lastHandover(owned).Sub(cutAt))
		}
		for time.Since(cutAt) < time.Duration(shortOrLong(0, 30))*time.Second {
			c.awaitProgress("batches are acknowledged by the other two")
		}
		network.setPartitioned(member, false)
		r.await("the member is ready again", r.ready)
	}
	c.awaitProgress("batches are acknowledged by all")
	stop()
	c.checkAndReport("cluster: a member partitioned without notice, %d times, not ready after %s, others deliver its webhooks after %s",
		rounds, seconds(unready), seconds(handover))
}

// Members are partitioned again and again, for some seconds each time, so that elections and catching up are cut short anywhere.
func TestClusterSurvivesUnstableNetwork(t *testing.T) {
	t.Parallel()
	if !*long {
		t.Skip("only with -long")
	}
	const rounds = 15
	network := newNetwork(t, memberCount)
	c := newCluster(t, network)
	stop := c.startSending()
	for range rounds {
		member := rand.IntN(memberCount)
		network.setPartitioned(member, true)
		elapse(t.Context(), rand.N(20*time.Second))
		network.setPartitioned(member, false)
		elapse(t.Context(), rand.N(10*time.Second))
	}
	for _, r := range c.receivers {
		r.await("all members are ready", r.ready)
	}
	c.awaitProgress("batches are acknowledged by all")
	stop()
	c.checkAndReport("cluster: any member partitioned for some seconds, %d times", rounds)
}

// busiest returns the member that delivers most webhooks.
func (c *members) busiest() int {
	shares := c.monitor.shares(len(c.receivers))
	return slices.Index(shares, slices.Max(shares))
}

// awaitDeliverers waits until each webhook had a request.
func (c *members) awaitDeliverers() {
	c.t.Helper()
	c.receivers[0].await("all webhooks are delivered", func() bool {
		delivered := 0
		for _, webhooks := range c.monitor.shares(len(c.receivers)) {
			delivered += webhooks
		}
		return delivered == c.webhooks
	})
}

// Two of the three members do not see each other, but both see the third. Batches are still acknowledged.
func TestClusterSurvivesSeparatedPair(t *testing.T) {
	t.Parallel()
	if !*long {
		t.Skip("only with -long")
	}
	network := newNetwork(t, memberCount)
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
	c.checkAndReport("cluster: each pair of members separated in turn for 30 s, the third sees both")
}

// The volumes are smaller than the buffer's limit, and fill up while the sinks are down. When the sinks are up again, delivery frees
// space without intervention.
func TestClusterRecoversFromFullVolumes(t *testing.T) {
	t.Parallel()
	c, _ := newClusterOnVolumes(t, "160m", "160m", "160m")
	c.fillVolumes("cluster: volumes smaller than the buffer limit, full %d times while the sinks were down")
}

// The volume of one member is smaller than those of the others, and may be filled to the last byte, after which its store does not write any
// more. The others deliver everything, whatever it led.
func TestClusterOutlivesASmallVolume(t *testing.T) {
	t.Parallel()
	c, _ := newClusterOnVolumes(t, "160m", "120m", "160m")
	c.receivers[1].mayExit.Store(true) // its server may not stop
	c.fillVolumes("cluster: the volume of one member smaller than those of the others, full %d times while the sinks were down")
	for _, i := range []int{0, 2} {
		c.receivers[i].await("the other members are ready", c.receivers[i].ready)
	}
}

// What a member logs when its volume is nearly full, when it starts again, and when a write has failed.
const (
	stoppedInTime = "stopping the member while it can still write"
	openedAgain   = "The buffer failed and is opened again"
	writeFailed   = "ritical write error"
)

// Another program fills the volume of one member: first nearly, and the member stops before a write fails, and then to the last byte. The
// other two go on accepting and delivering.
func TestClusterGoesOnWhenOthersFillAVolume(t *testing.T) {
	t.Parallel()
	c, volumes := newClusterOnVolumes(t, "160m", "160m", "160m")
	c.sender.padding, c.sender.interval = incompressible(1<<10), 50*time.Millisecond
	stop := c.startSending()
	rounds := shortOrLong(1, 3)
	for round := range rounds {
		r, v := c.receivers[round%memberCount], volumes[round%memberCount]
		for _, event := range []string{stoppedInTime, openedAgain} { // the first time it releases its reserve, and goes on
			r.await("its member stops", func() bool { v.fill(2 << 20); return r.countInLog(event) > 0 })
		}
		if r.countInLog(writeFailed) > 0 {
			c.t.Error("the member stopped too late: writing has failed")
		}
		r.await("its member is not ready", func() bool { v.fill(0); return !r.ready() })
		full := time.Now()
		for time.Since(full) < 10*time.Second {
			c.awaitProgress("batches are acknowledged by the other two")
		}
		v.removeBallast()
		r.await("the member is ready again", r.ready)
	}
	stop()
	c.checkAndReport("cluster: the volume of one member filled by another program, %d times", rounds)
}

// newClusterOnVolumes starts a cluster whose members have volumes of these sizes, for batches that do not compress.
func newClusterOnVolumes(t *testing.T, sizes ...string) (c *members, volumes []*volume) {
	t.Helper()
	c = newCluster(t, nil, func(r *receiver) {
		v := newVolume(t, "size="+sizes[len(volumes)])
		volumes = append(volumes, v)
		r.launcher, r.dir, r.socketDir = v.enter(), filepath.Join(v.path, "buffer"), v.hostPath("buffer")
		r.args = append(r.args, "--buffer-dir", r.dir)
	})
	c.sender.padding, c.sender.interval = incompressible(64<<10), 0
	return c, volumes
}

// fillVolumes sends batches while the sinks are down, until no member is ready, and then delivers, some times.
func (c *members) fillVolumes(what string) {
	c.t.Helper()
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
	c.checkAndReport(what, rounds)
	for i, r := range c.receivers {
		c.t.Logf("receiver %d stopped at least %d times before its volume was full, could not write %d times, and gave up a stream %d times",
			i, r.countInLog(stoppedInTime), r.countInLog(writeFailed), r.countInLog("Resetting stream"))
	}
}
