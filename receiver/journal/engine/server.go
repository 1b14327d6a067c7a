package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// startTimeout is for a server that recovers what it has stored, which takes about a second per gigabyte.
	startTimeout = 10 * time.Minute
	// maxPending is how many bytes may be on their way to a client.
	maxPending = 8 * MaxPayload
	// memoryStore is for the state of consumers.
	memoryStore = 64 << 20
	// unlimitedStore is the limit of all streams together: each has its own. With a limit that follows the volume's free
	// space, the server would refuse to change a stream once that space has shrunk.
	unlimitedStore = 1 << 60
	clientName     = "receiver"
	// stopTimeout is how long a server may take to stop. It writes the state of its streams.
	stopTimeout = 2 * time.Minute
)

// ErrStuck means that a server does not stop, as happens after its store has failed. Only a new process can use its directory.
var ErrStuck = errors.New("the buffer's server does not stop: the process must be started again")

// endsInTime runs what stops a server, and reports whether that has ended after [stopTimeout].
func endsInTime(stop func()) bool {
	ended := make(chan struct{})
	go func() { defer close(ended); stop() }()
	select {
	case <-ended:
		return true
	case <-time.After(stopTimeout):
		return false
	}
}

// stopAfter stops a server after an error, and returns the error, also [ErrStuck] if it does not stop.
func stopAfter(err error, stop func()) error {
	if !endsInTime(stop) {
		return errors.Join(err, ErrStuck)
	}
	return err
}

// serverOptions are those of a server that acknowledges nothing that is not on disk.
func serverOptions(storeDir string) *server.Options {
	return &server.Options{
		StoreDir: storeDir, JetStream: true, SyncAlways: true, JetStreamMaxStore: unlimitedStore, JetStreamMaxMemory: memoryStore,
		MaxPayload: MaxPayload, MaxPending: maxPending,
		NoSigs: true, NoLog: true, DisableJetStreamBanner: true, NoSystemAccount: false,
	}
}

// launchServer starts a server and waits until it accepts requests.
func launchServer(ctx context.Context, options *server.Options, log serverLog) (running *server.Server, stop func(), err error) {
	running, err = server.NewServer(options)
	if err != nil {
		return nil, nil, fmt.Errorf("configuring the embedded server: %w", err)
	}
	running.SetLoggerV2(log, log.logger.Enabled(ctx, slog.LevelDebug), false, false)
	started := make(chan struct{})
	go func() { defer close(started); running.Start() }()
	stop = func() {
		<-started
		running.Shutdown()
		running.WaitForShutdown()
	}
	if err := waitReady(ctx, running, started); err != nil {
		return nil, nil, stopAfter(err, stop)
	}
	return running, stop, nil
}

func waitReady(ctx context.Context, running *server.Server, started <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for !running.ReadyForConnections(100 * time.Millisecond) {
		select {
		case <-started:
			if !running.Running() {
				return errors.New("starting the embedded server: it has stopped; its log lines say why")
			}
		default:
		}
		if ctx.Err() != nil {
			return fmt.Errorf("starting the embedded server: %w", ctx.Err())
		}
	}
	if !running.JetStreamEnabled() {
		return errors.New("starting the embedded server: it cannot use its directory; its log lines say why")
	}
	return nil
}

// connectInProcess connects to a server in this process. A connection that is lost stays lost: the server has stopped.
func connectInProcess(running *server.Server, options ...nats.Option) (*nats.Conn, error) {
	options = append([]nats.Option{nats.InProcessServer(running), nats.MaxReconnects(0), nats.Name(clientName)}, options...)
	conn, err := nats.Connect("", options...)
	if err != nil {
		return nil, fmt.Errorf("connecting to the embedded server: %w", describeConnectError(err))
	}
	return conn, nil
}
