package engine

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

const (
	// JoinTimeout is how long a member that starts may take to get in sync before it is used anyway.
	JoinTimeout = 2 * time.Minute
	// UnhealthyTimeout is how long a member may then be out of sync before it is restarted.
	UnhealthyTimeout = 10 * time.Minute
	// HealthInterval is how often that is checked.
	HealthInterval   = 5 * time.Second
	joinPollInterval = 100 * time.Millisecond
	// healthTimeout is how long the server may take to say whether the member is in sync.
	healthTimeout = time.Minute
	// jetStreamEndTimeout is how long the server may take to close its files when it disables JetStream.
	jetStreamEndTimeout = 15 * time.Second
	// The free space is checked before a disk that writes fastestDisk bytes in a millisecond can use it up.
	fastestDisk       = 1 << 20
	minVolumeInterval = 5 * time.Millisecond
	maxVolumeInterval = time.Second
	// A member whose store failed again before it was in sync stays away for some time, so that it does not keep its peers busy.
	minAbsence = 5 * time.Second
	maxAbsence = 5 * time.Minute
)

const (
	outOfSync = "Buffer member is not in sync with its peers"
	noAnswer  = "the server of the member does not answer"
)

// member is the server of a cluster member while it runs. It outlives the connections to it: members that stopped their server
// whenever the others are down would not find each other again.
type member struct {
	server  *server.Server
	options *server.Options
	key     nkeys.KeyPair // of the user of this process
	reserve *DiskReserve
	tls     TLSFiles
	logger  *slog.Logger
	failed  <-chan struct{} // gets a value when the store failed, or is about to
	stop    func()
}

func (m *member) connect() (*nats.Conn, error) {
	public, err := m.key.PublicKey()
	if err != nil {
		return nil, err
	}
	return connectInProcess(m.server, nats.IgnoreDiscoveredServers(), nats.Nkey(public, m.key.Sign))
}

// healthError says in which way the member is not in sync with its peers, "" if it is.
func (m *member) healthError() string {
	answer := make(chan string, 1)
	go func() { answer <- redact(m.server.Healthz(&server.HealthzOptions{}).Error) }()
	select {
	case reason := <-answer:
		return reason
	case <-time.After(healthTimeout):
		return noAnswer
	}
}

// watchVolume releases the reserve when the volume is nearly full, and when it is so again it stops the server and reports a failure. A
// store that cannot write breaks off anywhere, and the server may give up its copy of a stream, also of the log in which it has voted. What
// the member leads is handed over without waiting for its peers, whose batches it would go on storing.
func (m *member) watchVolume(failed chan<- struct{}) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for left := m.reserve.untilLow(); left > 0 || m.releaseReserve(); left = m.reserve.untilLow() {
			select {
			case <-time.After(min(max(time.Duration(left/fastestDisk)*time.Millisecond, minVolumeInterval), maxVolumeInterval)):
			case <-ctx.Done():
				return
			}
		}
		m.logger.Warn("The volume of the buffer member is nearly full, stopping the member while it can still write")
		select {
		case failed <- struct{}{}:
		default: // it has failed already
		}
		m.server.Shutdown()
	}()
	return func() { cancel(); <-ended }
}

func (m *member) releaseReserve() (released bool) {
	if released = m.reserve.release(); released {
		m.logger.Warn(reserveReleased)
	}
	return released
}

// awaitJetStreamEnd waits until the server has closed its files, if it disables JetStream at the moment: stopping it would not wait.
func (m *member) awaitJetStreamEnd() {
	ticker := time.NewTicker(joinPollInterval)
	defer ticker.Stop()
	for begin := time.Now(); !m.server.JetStreamEnabled() && m.server.JetStreamConfig() != nil && time.Since(begin) < jetStreamEndTimeout; {
		<-ticker.C
	}
}

// waitInSync waits until the member has what its peers have, at most JoinTimeout, or its store fails. It is not ready before, so that in
// a rolling restart two members always have everything. It reports whether the member is in sync.
func (m *member) waitInSync(ctx context.Context) (inSync bool) {
	ctx, cancel := context.WithTimeout(ctx, JoinTimeout)
	defer cancel()
	ticker := time.NewTicker(joinPollInterval)
	defer ticker.Stop()
	logged := ""
	for reason := m.healthError(); reason != "" && len(m.failed) == 0; reason = m.healthError() {
		if reason != logged {
			m.logger.Info("Waiting for the buffer member to be in sync with its peers", "reason", reason)
			logged = reason
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			m.logger.Warn(outOfSync, "reason", m.healthError())
			return false
		}
	}
	return len(m.failed) == 0
}

// watchHealth watches a member until ctx ends and then returns true. It returns false if the member stays unhealthy: its
// copy is of no use then, though the buffer works with those of its peers.
func (m *member) watchHealth(ctx context.Context) bool {
	ticker := time.NewTicker(HealthInterval)
	defer ticker.Stop()
	for healthy := time.Now(); ; {
		select {
		case <-ctx.Done():
			return true
		case <-m.failed:
			m.logger.Error("The store of the buffer member failed or its volume is nearly full, restarting it")
			return false
		case <-ticker.C:
		}
		if err := m.reloadCA(); err != nil {
			m.logger.Warn("Could not reload the cluster CA", "error", err.Error())
		}
		reason := m.healthError()
		switch {
		case !m.server.JetStreamEnabled():
			m.logger.Error("Buffer member cannot use its directory, restarting it")
			return false
		case reason == "":
			healthy = time.Now()
		case reason == noAnswer:
			m.logger.Error("The server of the buffer member does not answer, restarting it")
			return false
		case time.Since(healthy) > UnhealthyTimeout:
			m.logger.Error("Buffer member stayed out of sync with its peers, restarting it", "reason", reason)
			return false
		default:
			m.logger.Debug(outOfSync, "reason", reason)
		}
	}
}

// reloadCA trusts another CA for new routes when the file has changed. Open routes stay.
func (m *member) reloadCA() error {
	if m.tls.CA == "" {
		return nil
	}
	pool, err := m.tls.loadCA()
	if err != nil || pool.Equal(m.options.Cluster.TLSConfig.RootCAs) {
		return err
	}
	options := m.options.Clone()
	options.Cluster.TLSConfig.RootCAs, options.Cluster.TLSConfig.ClientCAs = pool, pool
	if err := m.server.ReloadOptions(options); err != nil {
		return err
	}
	m.options = options
	m.logger.Info("Reloaded the cluster CA")
	return nil
}
