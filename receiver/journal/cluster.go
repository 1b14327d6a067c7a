package journal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// ClusterMembers is how many receivers keep a copy each. Two of them must be there.
const ClusterMembers = 3

const (
	clusterName = "mandrill-receiver"
	// Accounts of the server: streams are in one, and what the members tell each other in the other.
	bufferAccount = "BUFFER"
	systemAccount = "SYS"
	routeUser     = "member"
	// routePing and its answers show that another member is gone without having said so.
	routePing    = 5 * time.Second
	routeTimeout = 5 * time.Second
	// quietAttempts is how many attempts to reach a member, one or two seconds apart, are reported once.
	quietAttempts = 60
	// joinTimeout is how long a member that starts may take to have what the others have, before it answers all the same.
	joinTimeout = 2 * time.Minute
	// sickTime is how long it may lack something after that. Then it is started again.
	sickTime       = 10 * time.Minute
	healthInterval = 5 * time.Second
)

// Cluster is a server in this process, which is one of three that have the same streams.
type Cluster struct {
	Dir      string
	Limits   Limits
	Name     string   // of this member, the same after a restart
	Listen   string   // where the others reach it, host:port
	Peers    []string // host:port of all members, this one included
	Password string   // that all members know
	TLS      TLSFiles // of which all are needed, or none
	Logger   *slog.Logger

	partitioned atomic.Bool
	mu          sync.Mutex
	running     *member
	room        *diskReserve
}

// member is the server while it runs, which is longer than a connection to it: were it stopped whenever the others are
// gone, they would not find each other again.
type member struct {
	server  *server.Server
	options *server.Options
	key     nkeys.KeyPair // of this process alone
	stop    func()
}

// Alone tells that the other members use the same streams.
func (c *Cluster) Alone() bool { return false }

func (c *Cluster) volume() *diskReserve {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.room
}

// Open starts the server, if it does not run, and connects to it.
func (c *Cluster) Open(ctx context.Context) (*nats.Conn, func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil {
		running, err := c.start(ctx)
		if err != nil {
			return nil, nil, err
		}
		c.running = running
	}
	m := c.running
	conn, err := m.connect()
	if err != nil {
		c.end(m)
		return nil, nil, fmt.Errorf("connecting to the buffer's server: %w", describeConnectError(err))
	}
	c.join(ctx, m)
	life, cancel := context.WithCancel(ctx)
	var sick atomic.Bool
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if !m.healthy(life, c.TLS, c.Logger) {
			sick.Store(true)
			conn.Close()
		}
	}()
	return conn, func() {
		cancel()
		<-watched
		conn.Close()
		if sick.Load() {
			c.Close()
		}
	}, nil
}

// Close stops the server.
func (c *Cluster) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != nil {
		c.end(c.running)
	}
}

// end stops the server. The mutex is held.
func (c *Cluster) end(m *member) {
	m.server.LameDuckShutdown() // others lead from now on
	m.stop()
	c.running = nil
}

func (c *Cluster) start(ctx context.Context) (*member, error) {
	if err := checkUnused(c.Dir, embeddedFolder, "--buffer=embedded"); err != nil {
		return nil, err
	}
	unlock, err := lock(c.Dir)
	if err != nil {
		return nil, err
	}
	key, err := nkeys.CreateUser()
	if err != nil {
		unlock()
		return nil, fmt.Errorf("making a key: %w", err)
	}
	options, err := c.options(key)
	if err != nil {
		unlock()
		return nil, err
	}
	c.room = newDiskReserve(c.Dir, c.Limits.Reserve)
	err = checkWritable(c.Dir)
	if c.room.release(err) {
		c.Logger.Warn(reserveReleased)
		err = checkWritable(c.Dir)
	}
	if err != nil {
		unlock()
		return nil, err
	}
	running, stop, err := launchServer(ctx, options, c.Logger)
	if err != nil {
		unlock()
		return nil, err
	}
	m := &member{server: running, options: options, key: key}
	silence, err := c.runHeartbeat(m) //nolint:contextcheck // it goes on as long as the member
	if err != nil {
		stop()
		unlock()
		return nil, err
	}
	m.stop = func() { silence(); stop(); unlock() }
	return m, nil
}

// options of a member. Clients are of this process: it must listen for them, or its routes wait for ever, but nobody else
// has the key.
func (c *Cluster) options(key nkeys.KeyPair) (*server.Options, error) {
	public, err := key.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	options := (&Embedded{Dir: c.Dir, Limits: c.Limits}).options()
	accounts := fmt.Sprintf("accounts: {%s: {jetstream: enabled, users: [{nkey: %s}]}, %s: {}}, system_account: %s", bufferAccount, public, systemAccount, systemAccount)
	if err := options.ProcessConfigString(accounts); err != nil {
		return nil, fmt.Errorf("making the accounts: %w", err)
	}
	host, port, err := splitAddress(c.Listen)
	if err != nil {
		return nil, err
	}
	if host == "" {
		host = anyHost()
	}
	options.ServerName, options.StoreDir = c.Name, filepath.Join(c.Dir, clusterFolder)
	options.Host, options.Port = "127.0.0.1", server.RANDOM_PORT
	options.ReconnectErrorReports = quietAttempts
	options.LameDuckDuration, options.LameDuckGracePeriod = time.Second, time.Millisecond
	sum := sha256.Sum256([]byte(c.Password)) // which needs no quoting in a URL
	user := url.UserPassword(routeUser, hex.EncodeToString(sum[:]))
	options.Cluster = server.ClusterOpts{
		Name: clusterName, Host: host, Port: port, NoAdvertise: true, PingInterval: routePing, MaxPingsOut: 2,
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

// Members are the addresses of all three: what is given with commas, or of one name of a headless Service those of the
// pods of a StatefulSet, of which this host is one.
func Members(peers, hostname string) ([]string, error) {
	list := strings.Split(peers, ",")
	for i, peer := range list {
		list[i] = strings.ToLower(strings.TrimSpace(peer))
		if host, _, err := splitAddress(list[i]); err != nil || host == "" {
			return nil, errors.New("a member must be of the form host:port")
		}
	}
	if len(list) == 1 {
		pod, _, _ := strings.Cut(hostname, ".")
		at := strings.LastIndexByte(pod, '-')
		ordinal, err := strconv.ParseUint(pod[at+1:], 10, 8)
		if at < 1 || err != nil || ordinal >= ClusterMembers {
			return nil, errors.New("one name stands for the three pods of a StatefulSet, and the name of this host does not end in -0, -1 or -2; give the three members")
		}
		service := list[0]
		list = nil
		for i := range ClusterMembers {
			list = append(list, pod[:at+1]+strconv.Itoa(i)+"."+service)
		}
	}
	if sorted := slices.Compact(slices.Sorted(slices.Values(list))); len(list) != ClusterMembers || len(sorted) != ClusterMembers {
		return nil, fmt.Errorf("there must be %d members, this one included", ClusterMembers)
	}
	return list, nil
}

// Loopback tells whether all addresses are of this machine alone.
func Loopback(addresses []string) bool {
	return !slices.ContainsFunc(addresses, func(address string) bool {
		host, _, _ := splitAddress(address)
		return host != "localhost" && !net.ParseIP(host).IsLoopback()
	})
}

// Port is that of an address.
func Port(address string) (int, error) {
	_, port, err := splitAddress(address)
	return port, err
}

// splitAddress takes host:port apart.
func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, errors.New("an address must be of the form host:port")
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil || number == 0 {
		return "", 0, errors.New("a port must be a number from 1 to 65535")
	}
	return host, int(number), nil
}

// anyHost is all addresses of this machine, also those of IPv6 where there are some.
func anyHost() string {
	listener, err := net.Listen("tcp6", "[::]:0") //nolint:noctx // nobody is asked
	if err != nil {
		return "0.0.0.0"
	}
	_ = listener.Close()
	return "::"
}

func (m *member) connect() (*nats.Conn, error) {
	public, err := m.key.PublicKey()
	if err != nil {
		return nil, err
	}
	return nats.Connect("", nats.InProcessServer(m.server), nats.MaxReconnects(0), nats.IgnoreDiscoveredServers(), nats.Name("receiver"), nats.Nkey(public, m.key.Sign))
}

// lacks is what a member does not have, or cannot do, of what the cluster has.
func (m *member) healthError() string { return m.server.Healthz(&server.HealthzOptions{}).Error }

// join waits until a member that has started has what the others have. It is not ready before, so that of members that
// are restarted one after the other always two have everything.
func (c *Cluster) join(ctx context.Context, m *member) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	said := ""
	for lacks := m.healthError(); lacks != ""; lacks = m.healthError() {
		if lacks != said {
			c.Logger.Info("Waiting for the buffer's cluster", "lacks", redact(lacks))
			said = lacks
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			c.Logger.Warn("This member of the buffer's cluster has not what the others have", "lacks", redact(m.healthError()))
			return
		}
	}
}

// healthy watches a member until the context ends, or it does not become healthy again. Its copy is then of no use, though
// the buffer works by those of the others.
func (m *member) healthy(ctx context.Context, files TLSFiles, logger *slog.Logger) bool {
	ticker := time.NewTicker(healthInterval)
	defer ticker.Stop()
	for well := time.Now(); ; {
		select {
		case <-ctx.Done():
			return true
		case <-ticker.C:
		}
		if err := m.trust(files, logger); err != nil {
			logger.Warn("Could not read anew whom to trust in the buffer's cluster", "error", err.Error())
		}
		lacks := m.healthError()
		switch {
		case !m.server.JetStreamEnabled():
			logger.Error("This member of the buffer's cluster cannot use its folder, starting it again")
			return false
		case lacks == "":
			well = time.Now()
		case time.Since(well) > sickTime:
			logger.Error("This member of the buffer's cluster has not what the others have, starting it again", "lacks", redact(lacks))
			return false
		default:
			logger.Debug("This member of the buffer's cluster has not what the others have", "lacks", redact(lacks))
		}
	}
}

// trust takes note of another authority. Connections that there are go on.
func (m *member) trust(files TLSFiles, logger *slog.Logger) error {
	if files.CA == "" {
		return nil
	}
	pool, err := files.authority()
	if err != nil || pool.Equal(m.options.Cluster.TLSConfig.RootCAs) {
		return err
	}
	options := m.options.Clone()
	options.Cluster.TLSConfig.RootCAs, options.Cluster.TLSConfig.ClientCAs = pool, pool
	if err := m.server.ReloadOptions(options); err != nil {
		return err
	}
	m.options = options
	logger.Info("The authority of the buffer's cluster has changed")
	return nil
}

// Folders of a buffer, by setting.
const (
	embeddedFolder = "nats"
	clusterFolder  = "cluster"
)

// unused makes sure that nothing is left behind in a folder when the setting changes.
func checkUnused(dir, folder, setting string) error {
	_, err := os.Stat(filepath.Join(dir, folder))
	if err == nil {
		return &ConfigError{fmt.Errorf("the buffer's folder is one of %s, whose batches would be left behind: have them delivered, and use another folder", setting)}
	}
	return nil
}
