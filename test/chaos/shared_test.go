package chaos_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/partition"
)

const (
	// sharedWebhooks are enough for each member to deliver some, whatever their hashes.
	sharedWebhooks = 24
	// calmTime is how long delivery is watched before a fault, to compare it with delivery during the fault.
	calmTime = 3 * time.Second
)

// newShared starts receivers that share a buffer in a NATS server, the first ones of some. With a network, the server has the last host.
func newShared(t *testing.T, network *network, count, started int) *members {
	t.Helper()
	var url string
	if network == nil {
		url = startNATS(t, freeAddress(t))
	} else {
		url = startNATS(t, network.host(count)+":4222", network.members[count].enter()...)
	}
	m := newMembers(t, network, count, sharedWebhooks, func(int) []string { return nil })
	for _, r := range m.receivers { // the buffer has no folder
		r.args = []string{"--config", r.args[1], "--buffer", url, "--buffer-replicas", "1", "--buffer-max-bytes", "536870912"}
	}
	m.sender.events, m.sender.interval = shortOrLong(5, 20), 250*time.Millisecond
	for _, r := range m.receivers[:started] {
		r.start()
	}
	m.awaitBalance(m.receivers[:started])
	return m
}

// awaitBalance waits until members are ready and each delivers its share of the partitions, within one.
func (m *members) awaitBalance(running []*receiver) {
	m.t.Helper()
	var shares []int
	defer func() {
		if m.t.Failed() {
			m.t.Logf("the members deliver %v partitions", shares)
		}
	}()
	running[0].await("each member delivers its share of the partitions", func() bool {
		shares = nil
		total := 0
		for _, r := range running {
			if !r.ready() {
				return false
			}
			share := int(r.metric("mandrill_receiver_buffer_partitions"))
			shares, total = append(shares, share), total+share
		}
		return total == partition.Count && slices.Max(shares)-slices.Min(shares) <= 1
	})
}

// memberFault is a fault of one member, and the webhooks that it delivered then.
type memberFault struct {
	calm, begin, end time.Time // the end is when others deliver its webhooks
	owned            map[int]bool
}

// watchCalm lets time pass without a fault, until each webhook was delivered.
func (m *members) watchCalm() *memberFault {
	m.t.Helper()
	m.awaitDeliverers()
	fault := &memberFault{calm: time.Now()}
	elapse(m.t.Context(), calmTime)
	return fault
}

// strike injects a fault of a member and waits until others deliver its webhooks.
func (m *members) strike(fault *memberFault, member int, inject func()) {
	m.t.Helper()
	fault.owned, fault.begin = m.monitor.deliveredBy(member), time.Now()
	inject()
	m.receivers[member].await("others deliver the member's webhooks", func() bool { return len(m.monitor.deliveredBy(member)) == 0 })
	fault.end = time.Now()
	m.awaitProgress("batches are acknowledged")
}

// pauses returns the slowest delivery before faults, during them of webhooks of the members that had them, and of those of others.
func (m *members) pauses(faults []*memberFault) (calm, own, others time.Duration) {
	m.t.Helper()
	for _, fault := range faults {
		before, _ := m.ledger.slowestDeliveryBetween(fault.calm, fault.begin, func(int) bool { return true })
		during, delivered := m.ledger.slowestDeliveryBetween(fault.begin, fault.end, func(sender int) bool { return !fault.owned[sender] })
		paused, _ := m.ledger.slowestDeliveryBetween(fault.begin, fault.end, func(sender int) bool { return fault.owned[sender] })
		calm, own, others = max(calm, before), max(own, paused), max(others, during)
		if delivered == 0 || len(fault.owned) == 0 || len(fault.owned) > sharedWebhooks*2/3 {
			m.t.Errorf("the member delivered %d of %d webhooks, want a share; %d events of others arrived during the fault", len(fault.owned), sharedWebhooks, delivered)
		}
	}
	return calm, own, others
}

// maxPauseOfOthers is how long events of webhooks of other members may take during the fault of a member, whose own pause for the 12
// seconds of its lease. On a machine that is busy with other tests it is compared with what deliveries took before.
func maxPauseOfOthers(calm time.Duration) time.Duration { return max(8*time.Second, 4*calm) }

// unexplainedRepeats describes the duplicates that no fault explains: one explains an event of the member's webhooks that arrived
// shortly before it or during it, and again after it began.
func (m *members) unexplainedRepeats(faults []*memberFault) (unexplained []string) {
	slowest := m.sender.slowestAcknowledgement()
	m.ledger.mu.Lock()
	defer m.ledger.mu.Unlock()
	for serial, event := range m.ledger.events {
		explained := event.arrivals < 2 || slices.ContainsFunc(faults, func(fault *memberFault) bool {
			return fault.owned[int(event.sender)] && event.first.After(fault.begin.Add(-unsavedWindow(slowest))) &&
				event.first.Before(fault.end.Add(unreadWindow(slowest))) && event.last.After(fault.begin)
		})
		if !explained {
			unexplained = append(unexplained, fmt.Sprintf("event %d of webhook %d arrived %d times within %s", serial, event.sender, event.arrivals, event.last.Sub(event.first).Round(time.Millisecond)))
		}
	}
	return unexplained
}

// checkShared waits for the delivery of everything, and checks that nothing but the faults explains duplicates and pauses.
func (m *members) checkShared(faults []*memberFault, format string, args ...any) {
	m.t.Helper()
	m.ledger.awaitDelivery(m.t)
	if unexplained := m.unexplainedRepeats(faults); len(unexplained) > 0 {
		m.t.Errorf("%d of %d duplicates were not being delivered by the member at its fault: %s",
			len(unexplained), m.ledger.duplicateCount(), strings.Join(unexplained[:min(len(unexplained), 5)], "; "))
	}
	what := fmt.Sprintf(format, args...)
	if len(faults) == 0 {
		m.checkAndReport("%s", what)
		return
	}
	calm, own, others := m.pauses(faults)
	if limit := maxPauseOfOthers(calm); others > limit {
		m.t.Errorf("an event of a webhook of another member took %s during the fault, want %s at most; before it took %s", others, limit, calm)
	}
	m.checkAndReport("%s; slowest event before %s, of the member's webhooks %s, of others %s", what,
		calm.Round(time.Millisecond), own.Round(time.Millisecond), others.Round(time.Millisecond))
}

// strikeInTurn causes a fault of one member after the other, repairs it, and waits until all deliver again.
func (m *members) strikeInTurn(rounds int, cause, repair func(member int)) (faults []*memberFault) {
	for round := range rounds {
		member := round % memberCount
		fault := m.watchCalm()
		m.strike(fault, member, func() { cause(member) })
		faults = append(faults, fault)
		repair(member)
		m.awaitBalance(m.receivers)
	}
	return faults
}

// A member is killed. Only its share of the webhooks pauses, until the others have it.
func TestSharedBufferSurvivesKill(t *testing.T) {
	t.Parallel()
	m := newShared(t, nil, memberCount, memberCount)
	stop := m.startSending()
	rounds := shortOrLong(1, 6)
	faults := m.strikeInTurn(rounds, func(member int) { m.receivers[member].kill() }, func(member int) { m.receivers[member].start() })
	stop()
	m.checkShared(faults, "shared NATS: kill -9 of a member, %d times", rounds)
}

// Each member is restarted in turn, as by a rollout. Nothing is delivered twice.
func TestSharedBufferSurvivesRestart(t *testing.T) {
	t.Parallel()
	m := newShared(t, nil, memberCount, memberCount)
	stop := m.startSending()
	rounds := shortOrLong(memberCount, 5*memberCount)
	for round := range rounds {
		m.awaitProgress("batches are acknowledged")
		r := m.receivers[round%memberCount]
		r.stop()
		m.awaitProgress("batches are acknowledged by the other two")
		r.start()
		m.awaitBalance(m.receivers)
	}
	stop()
	m.checkShared(nil, "shared NATS: each member restarted in turn, %d times", rounds)
}

// A member loses the network to NATS, but not to the sinks. It stops delivering before others deliver its webhooks.
func TestSharedBufferSurvivesCut(t *testing.T) {
	t.Parallel()
	network := newNetwork(t, memberCount+1)
	m := newShared(t, network, memberCount, memberCount)
	stop := m.startSending()
	rounds := shortOrLong(1, 4)
	faults := m.strikeInTurn(rounds, func(member int) { network.setPartitioned(member, true) }, func(member int) { network.setPartitioned(member, false) })
	stop()
	m.checkShared(faults, "shared NATS: a member cut off from NATS, %d times", rounds)
}

// Receivers are added and removed under load. Webhooks move between them, in order and without duplicates.
func TestSharedBufferIsScaled(t *testing.T) {
	t.Parallel()
	const most, fewest = 5, 2
	m := newShared(t, nil, most, 1)
	stop := m.startSending()
	rounds := shortOrLong(1, 3)
	for round := range rounds {
		m.awaitProgress("batches are acknowledged")
		first := 1
		if round > 0 {
			first = fewest
		}
		for _, r := range m.receivers[first:] {
			r.start()
		}
		m.awaitBalance(m.receivers)
		m.awaitProgress("batches are acknowledged by all")
		for running := most - 1; running >= fewest; running-- {
			m.receivers[running].stop()
			m.awaitProgress("batches are acknowledged by the others")
		}
		m.awaitBalance(m.receivers[:fewest])
	}
	stop()
	m.checkShared(nil, "shared NATS: scaled 1 to %d to %d, %d times", most, fewest, rounds)
}
