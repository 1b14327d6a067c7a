package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// ClusterMembers is the number of receivers that keep a copy each. Two of them must be up.
const ClusterMembers = 3

const (
	clusterName = "mandrill-receiver"
	// The streams are in the buffer account. The members' own traffic is in the system account.
	bufferAccount = "BUFFER"
	systemAccount = "SYS"
	routeUser     = "member"
	// RoutePing is how often members ping each other.
	RoutePing = 5 * time.Second
	// RoutePings is the number of pings without an answer after which a route is closed.
	RoutePings   = 2
	routeTimeout = 5 * time.Second
	// quietAttempts is how many attempts to reach a member, one or two seconds apart, are logged once.
	quietAttempts = 60
)

// Cluster is a server in this process that is one of three members with the same streams.
type Cluster struct {
	Dir      string
	Reserve  int64    // bytes of the volume to keep free, see [ReserveFor]; 0: none
	Name     string   // of this member, the same after a restart
	Listen   string   // host:port for the other members
	Peers    []string // host:port of all members, this one included
	Password string   // shared by all members
	TLS      TLSFiles // all files, or none
	Logger   *slog.Logger

	partitioned atomic.Bool
	mu          sync.Mutex
	running     *member
	stuck       bool // a server does not stop
	unhealthy   int  // times in a row that the member was stopped because its copy is of no use, and was not in sync in between
}

// Open starts the server if it does not run, waits until it is in sync with its peers, and connects to it.
func (c *Cluster) Open(ctx context.Context) (*Connection, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stuck {
		return nil, ErrStuck
	}
	if c.running == nil {
		if err := c.stayAway(ctx); err != nil {
			return nil, err
		}
		running, err := c.start(ctx)
		if err != nil {
			return nil, err
		}
		c.running = running
	}
	m := c.running
	conn, err := m.connect()
	if err != nil { // it was stopped meanwhile
		c.unhealthy++
		c.shutDown(m)
		return nil, err
	}
	if m.waitInSync(ctx) {
		c.unhealthy = 0
	}
	ctx, cancel := context.WithCancel(ctx)
	var unhealthy atomic.Bool
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if !m.watchHealth(ctx) {
			unhealthy.Store(true)
			conn.Close()
		}
	}()
	closeConn := func() {
		cancel()
		ended := endsInTime(func() { <-watched; conn.Close() })
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case !ended:
			c.stuck, c.running = true, nil // Close must not wait for it again
		case unhealthy.Load():
			c.unhealthy++
			if c.running != nil {
				c.shutDown(c.running)
			}
		}
	}
	return &Connection{Conn: conn, Close: closeConn, Partitioned: c.partitioned.Load, Reserve: m.reserve, Checkpoint: filepath.Join(c.Dir, checkpoint)}, nil
}

// stayAway waits before a member is started whose copy was of no use more than once.
func (c *Cluster) stayAway(ctx context.Context) error {
	if c.unhealthy < 2 {
		return nil
	}
	absence := min(maxAbsence, minAbsence<<min(c.unhealthy-2, 10))
	c.Logger.Warn("The buffer member failed again before it was in sync with its peers, it stays away for a while", "seconds", absence.Seconds())
	select {
	case <-time.After(absence):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close stops the server.
func (c *Cluster) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != nil {
		c.shutDown(c.running)
	}
}

// Kill stops the server without handing over what it leads, as far as that is possible in one process. It is for tests of
// failover.
func (c *Cluster) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != nil {
		c.running.server.Shutdown()
	}
}

// shutDown hands over leadership and stops the server. c.mu is held.
func (c *Cluster) shutDown(m *member) {
	c.running = nil
	c.stuck = !endsInTime(func() {
		m.awaitJetStreamEnd()
		m.server.LameDuckShutdown()
		m.stop()
	})
}

// start starts the server and its heartbeat.
func (c *Cluster) start(ctx context.Context) (_ *member, err error) {
	if err := checkUnused(c.Dir, embeddedDir, "--buffer=embedded"); err != nil {
		return nil, err
	}
	unlock, err := lockDir(c.Dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && !errors.Is(err, ErrStuck) {
			unlock()
		}
	}()
	if err := checkFormat(c.Dir); err != nil {
		return nil, err
	}
	key, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("creating a key: %w", err)
	}
	options, err := c.options(key)
	if err != nil {
		return nil, err
	}
	reserve := NewDiskReserve(c.Dir, c.Reserve)
	err = checkWritable(c.Dir)
	if reserve.releaseOnFull(err) || c.unhealthy > 0 && reserve.releaseWhenScarce() {
		c.Logger.Warn(reserveReleased)
		err = checkWritable(c.Dir)
	}
	if err != nil {
		return nil, err
	}
	reserve.setLow()
	log := newServerLog(c.Logger, memberFailures)
	running, stop, err := launchServer(ctx, options, log)
	if err != nil {
		return nil, err
	}
	m := &member{server: running, options: options, key: key, reserve: reserve, tls: c.TLS, logger: c.Logger, failed: log.failed}
	stopHeartbeat, err := c.runHeartbeat(m) //nolint:contextcheck // it runs as long as the member
	if err != nil {
		return nil, stopAfter(err, stop)
	}
	stopWatch := m.watchVolume(log.failed) //nolint:contextcheck // it runs as long as the member
	m.stop = func() { stopWatch(); stopHeartbeat(); stop(); unlock() }
	return m, nil
}

// options are those of a member. It must listen for clients, or its routes never start; only this process has the key.
func (c *Cluster) options(key nkeys.KeyPair) (*server.Options, error) {
	public, err := key.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("creating a key: %w", err)
	}
	options := serverOptions(filepath.Join(c.Dir, clusterDir))
	accounts := fmt.Sprintf("accounts: {%s: {jetstream: enabled, users: [{nkey: %s}]}, %s: {}}, system_account: %s", bufferAccount, public, systemAccount, systemAccount)
	if err := options.ProcessConfigString(accounts); err != nil {
		return nil, fmt.Errorf("configuring the accounts: %w", err)
	}
	host, port, err := splitAddress(c.Listen)
	if err != nil {
		return nil, err
	}
	if host == "" {
		host = anyHost()
	}
	options.ServerName = c.Name
	options.Host, options.Port = "127.0.0.1", server.RANDOM_PORT
	options.ReconnectErrorReports = quietAttempts
	options.LameDuckDuration, options.LameDuckGracePeriod = time.Second, time.Millisecond
	sum := sha256.Sum256([]byte(c.Password)) // in hex it needs no quoting in a URL
	user := url.UserPassword(routeUser, hex.EncodeToString(sum[:]))
	options.Cluster = server.ClusterOpts{
		Name: clusterName, Host: host, Port: port, NoAdvertise: true, PingInterval: RoutePing, MaxPingsOut: RoutePings,
		Username: routeUser, AuthTimeout: routeTimeout.Seconds(), TLSTimeout: routeTimeout.Seconds(),
	}
	options.Cluster.Password, _ = user.Password()
	if !c.TLS.Empty() {
		if options.Cluster.TLSConfig, err = c.TLS.Config(); err != nil {
			return nil, err
		}
	}
	for _, peer := range c.Peers {
		options.Routes = append(options.Routes, &url.URL{Scheme: "nats-route", User: user, Host: peer})
	}
	return options, nil
}
