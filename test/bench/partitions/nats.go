package main

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

const natsStartTimeout = 20 * time.Second

// serveNATS is a process with a NATS server, until it is told to stop.
func serveNATS(ctx context.Context, o options) error {
	running, err := server.NewServer(&server.Options{
		ServerName: "nats", Host: loopback.Host, Port: o.natsPort, JetStream: true, StoreDir: o.natsStore, SyncAlways: o.natsSync, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return err
	}
	running.Start()
	if !running.ReadyForConnections(natsStartTimeout) {
		return errors.New("the NATS server does not start")
	}
	<-ctx.Done()
	running.Shutdown()
	running.WaitForShutdown()
	return nil
}

// natsProcess is a NATS server in a process of its own.
type natsProcess struct {
	program *harness.Program
	url     *url.URL
	store   string
}

// startNATS starts a server. With sync, it syncs each message before it acknowledges it; otherwise every two minutes, as is its default.
func startNATS(ctx context.Context, died context.CancelCauseFunc, store string, sync bool) (*natsProcess, error) {
	address, err := loopback.Address(ctx)
	if err != nil {
		return nil, err
	}
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	n := &natsProcess{url: &url.URL{Scheme: "nats", Host: address}, store: store}
	command := harness.Command(executable, "-nats-port", n.url.Port(), "-nats-store", store, "-nats-sync="+strconv.FormatBool(sync))
	if n.program, err = harness.StartCommand(died, "the NATS server", command); err != nil {
		return nil, err
	}
	return n, n.awaitConnection(ctx)
}

// awaitConnection waits until the server accepts connections.
func (n *natsProcess) awaitConnection(ctx context.Context) error {
	timeout := time.After(natsStartTimeout)
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", n.url.Host)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timeout:
			return err
		case <-ticker.C:
		}
	}
}

// stop stops the server and deletes what it stored.
func (n *natsProcess) stop() error {
	if n == nil {
		return nil
	}
	return errors.Join(n.program.Stop(), os.RemoveAll(n.store))
}

func natsStore(dir, name string) string { return filepath.Join(dir, "nats-"+name) }
