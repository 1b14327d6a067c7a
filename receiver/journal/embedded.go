package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// startTimeout is for a server that recovers what it has stored, which takes a second for a gigabyte.
	startTimeout = 10 * time.Minute
	// serverPayload is the largest message, of which a part is for headers.
	serverPayload = maxMessage
	// serverPending is what may be on its way to a client at once.
	serverPending = 8 * serverPayload
)

// Embedded is a server in this process, with its files in a folder.
type Embedded struct {
	Dir    string
	Limits Limits
	Logger *slog.Logger

	failed  chan struct{}
	damaged int
	room    *diskReserve
	folders dirs
}

// Alone tells that nobody else uses the streams.
func (e *Embedded) Alone() bool { return true }

// Failed tells when the server that runs has met an error. It does not recover from one: a stream that could not be
// written once is not written again, and one that could not be read is not read any further.
func (e *Embedded) Failed() <-chan struct{} { return e.failed }

// Damaged tells at how many places the files were damaged when the server was started.
func (e *Embedded) Damaged() int { return e.damaged }

func (e *Embedded) volume() *diskReserve { return e.room }

// Open starts the server.
func (e *Embedded) Open(ctx context.Context) (*nats.Conn, func(), error) {
	if err := checkUnused(e.Dir, clusterFolder, "--buffer=cluster"); err != nil {
		return nil, nil, err
	}
	unlock, err := lock(e.Dir)
	if err != nil {
		return nil, nil, err
	}
	e.room = newDiskReserve(e.Dir, e.Limits.Reserve)
	conn, closeServer, err := e.open(ctx)
	if e.room.release(err) {
		e.Logger.Warn(reserveReleased)
		conn, closeServer, err = e.open(ctx)
	}
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return conn, func() { closeServer(); unlock() }, nil
}

func (e *Embedded) open(ctx context.Context) (*nats.Conn, func(), error) {
	e.damaged = 0
	if err := checkWritable(e.Dir); err != nil {
		return nil, nil, err
	}
	damaged, err := e.repairFiles()
	e.damaged = damaged
	if err != nil {
		return nil, nil, err
	}
	options := e.options()
	options.DontListen = true
	failed := make(chan struct{}, 1)
	e.failed = failed
	conn, closeServer, err := start(ctx, options, serverLog{e.Logger, func() {
		select {
		case failed <- struct{}{}:
		default: // it is known
		}
	}})
	if err != nil {
		return nil, nil, err
	}
	select {
	case <-failed: // while it recovered, which it has
	default:
	}
	return conn, closeServer, nil
}

// options of a server that acknowledges nothing that is not on disk.
func (e *Embedded) options() *server.Options {
	return &server.Options{
		ServerName: "receiver", StoreDir: filepath.Join(e.Dir, embeddedFolder),
		JetStream: true, SyncAlways: true, JetStreamMaxStore: noLimit, JetStreamMaxMemory: memoryStore,
		MaxPayload: serverPayload, MaxPending: serverPending,
		NoSigs: true, NoLog: true, DisableJetStreamBanner: true, NoSystemAccount: false,
	}
}

const (
	// memoryStore is for the state of consumers.
	memoryStore = 64 << 20
	// noLimit of all streams together: each has its own. Under one that follows the volume's free space the streams could
	// not be changed when that is less than it was.
	noLimit = 1 << 60
)

// lock keeps others from using a folder, which it makes if need be.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the buffer's folder: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the user's folder
	if errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOSPC) {
		return func() {}, nil // the server will say it, and may recover
	}
	if err != nil {
		return nil, fmt.Errorf("locking the buffer's folder: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("another process uses the buffer's folder")
		}
		return nil, fmt.Errorf("locking the buffer's folder: %w", err)
	}
	return func() { _ = file.Close() }, nil // and with it the lock
}

// start runs a server and connects to it.
func start(ctx context.Context, options *server.Options, log serverLog) (*nats.Conn, func(), error) {
	running, stop, err := launchWithLog(ctx, options, log)
	if err != nil {
		return nil, nil, err
	}
	conn, err := nats.Connect("", nats.InProcessServer(running), nats.MaxReconnects(0), nats.Name("receiver"))
	if err != nil {
		stop()
		return nil, nil, fmt.Errorf("connecting to the buffer's server: %w", err)
	}
	return conn, func() { conn.Close(); stop() }, nil
}

// launch runs a server.
func launchServer(ctx context.Context, options *server.Options, logger *slog.Logger) (running *server.Server, stop func(), err error) {
	return launchWithLog(ctx, options, serverLog{logger: logger})
}

func launchWithLog(ctx context.Context, options *server.Options, log serverLog) (running *server.Server, stop func(), err error) {
	running, err = server.NewServer(options)
	if err != nil {
		return nil, nil, fmt.Errorf("making the buffer's server: %w", err)
	}
	running.SetLoggerV2(log, log.logger.Enabled(ctx, slog.LevelDebug), false, false)
	started := make(chan struct{})
	go func() { defer close(started); running.Start() }()
	stop = func() {
		<-started
		running.Shutdown()
		running.WaitForShutdown()
	}
	if err := ready(ctx, running, started); err != nil {
		stop()
		return nil, nil, err
	}
	return running, stop, nil
}

// ready waits until a server answers.
func ready(ctx context.Context, running *server.Server, started <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for !running.ReadyForConnections(100 * time.Millisecond) {
		select {
		case <-started:
			if !running.Running() {
				return errors.New("starting the buffer's server: it has ended; its log says why")
			}
		default:
		}
		if ctx.Err() != nil {
			return fmt.Errorf("starting the buffer's server: %w", ctx.Err())
		}
	}
	if !running.JetStreamEnabled() {
		return errors.New("starting the buffer's server: it cannot use its folder; its log says why")
	}
	return nil
}

// serverLog takes what the server says. What it says for information is of interest to those who debug.
type serverLog struct {
	logger *slog.Logger
	failed func() // told of errors, if it is not nil
}

func (l serverLog) log(level slog.Level, format string, args ...any) {
	said := strings.TrimSpace(fmt.Sprintf(format, args...))
	if level > slog.LevelDebug {
		said = redact(said)
	}
	l.logger.Log(context.Background(), level, "The buffer's server said something", "said", said)
}

func (l serverLog) Noticef(format string, args ...any) { l.log(slog.LevelDebug, format, args...) }
func (l serverLog) Warnf(format string, args ...any)   { l.log(slog.LevelWarn, format, args...) }
func (l serverLog) Fatalf(format string, args ...any)  { l.log(slog.LevelError, format, args...) }
func (l serverLog) Debugf(string, ...any)              {} // for those who develop the server
func (l serverLog) Tracef(string, ...any)              {} // has data

// Errorf takes what does not pass by itself.
func (l serverLog) Errorf(format string, args ...any) {
	l.log(slog.LevelError, format, args...)
	if l.failed != nil {
		l.failed()
	}
}

// VolumeBytes is what the buffer in a folder may take of its volume: so many percent of what is free or its own.
func VolumeBytes(dir string, percent int64) (int64, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("making the buffer's folder: %w", err)
	}
	var volume syscall.Statfs_t
	if err := syscall.Statfs(dir, &volume); err != nil {
		return 0, fmt.Errorf("asking for the size of the buffer's volume: %w", err)
	}
	own := int64(0)
	err := filepath.WalkDir(dir, func(_ string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			own += info.Size()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("asking for the size of the buffer: %w", err)
	}
	return (int64(volume.Bavail)*volume.Bsize + own) / 100 * percent, nil //nolint:gosec // no volume is that large
}
