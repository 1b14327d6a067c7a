package engine

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

// Connections that fail soon, one after the other, end in a restart of the server, unless the member is partitioned or was restarted
// recently. Sleeping takes no time here.
func TestFailedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &Cluster{}
		fail := func(after time.Duration, times int) (restarts []int) {
			for i := range times {
				if c.failedAgain(after) {
					restarts = append(restarts, i+1)
				}
			}
			return restarts
		}
		expect := func(what string, got []int, want ...int) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Errorf("%s: the server is restarted at the failures %v, want %v", what, got, want)
			}
		}
		expect("after a long time", fail(soon+1, 2*maxFailures))
		c.partitioned.Store(true)
		expect("partitioned", fail(time.Second, 2*maxFailures))
		c.partitioned.Store(false)
		expect("soon", fail(soon, 2*maxFailures), maxFailures)
		time.Sleep(restartInterval)
		expect("soon, again", fail(time.Second, 1), 1)
	})
}

// A server that is of no use to its member is restarted, and not because the member is told to stop.
func TestServerIsRestartedAfterFailures(t *testing.T) {
	t.Parallel()
	var peers []string
	for range ClusterMembers {
		address, err := loopback.Address(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, address)
	}
	members, conns := make([]*Cluster, ClusterMembers), make([]*Connection, ClusterMembers)
	var opening sync.WaitGroup
	for i, peer := range peers {
		_, port, _ := net.SplitHostPort(peer)
		members[i] = &Cluster{Dir: t.TempDir(), Name: "receiver-" + port, Listen: peer, Peers: peers, Password: "password", Logger: slog.New(slog.DiscardHandler)}
		t.Cleanup(members[i].Close)
		opening.Go(func() {
			var err error
			if conns[i], err = members[i].Open(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	if opening.Wait(); t.Failed() {
		return
	}
	c, conn := members[0], conns[0]
	for _, other := range conns[1:] {
		t.Cleanup(other.Close)
	}
	first := c.running
	ctx, stop := context.WithCancel(t.Context())
	for range maxFailures {
		if c.running != first {
			t.Fatal("the server was restarted too early")
		}
		conn.Close()
		var err error
		if conn, err = c.Open(ctx); err != nil {
			t.Fatal(err)
		}
	}
	second := c.running
	if second == first || conn.Conn.Status() != nats.CONNECTED {
		t.Errorf("the server was restarted: %t, the connection is %v", second != first, conn.Conn.Status())
	}
	stop()
	c.restarted = time.Time{}
	c.failures = maxFailures
	if conn.Close(); c.running != second {
		t.Error("the server was restarted when the member was told to stop")
	}
}
