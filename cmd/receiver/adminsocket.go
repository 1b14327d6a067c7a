package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/recent"
)

// adminSocketName is the default name of the socket, in --buffer-dir.
const adminSocketName = "admin.sock"

// maxSocketPath is the longest path of a Unix socket. The kernel needs one byte more for a terminating zero.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// adminSocket is the Unix socket that serves recent events, dead letters and the backlog. File permissions are its only access control.
type adminSocket struct {
	path   string
	chosen bool // by --admin-socket, not by default
}

// newAdminSocket returns the socket of --admin-socket, or the default one in --buffer-dir, or nil without either.
func newAdminSocket(path string, buffer bufferOptions) (*adminSocket, error) {
	switch {
	case path == "" && buffer.dir == "":
		return nil, nil
	case path == "":
		path = filepath.Join(buffer.dir, adminSocketName)
		return &adminSocket{path: path}, checkSocketPath(path)
	}
	return &adminSocket{path, true}, checkSocketPath(path)
}

func checkSocketPath(path string) error {
	if len(path) <= maxSocketPath {
		return nil
	}
	return fmt.Errorf("the path of the admin socket has %d bytes, and the system allows %d: give a shorter one, such as --admin-socket=/run/receiver/%s",
		len(path), maxSocketPath, adminSocketName)
}

// listen opens the socket for the user of this process only. It replaces a socket that a crash left behind.
func (a *adminSocket) listen(ctx context.Context) (net.Listener, error) {
	dir := filepath.Dir(a.path)
	if !a.chosen {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("making the directory of the admin socket: %w", err)
		}
	}
	// Two processes must not replace the same stale socket at the same time.
	if locked, err := os.Open(dir); err == nil { //nolint:gosec // the user's directory
		defer locked.Close()                                 //nolint:errcheck // nothing was written
		_ = syscall.Flock(int(locked.Fd()), syscall.LOCK_EX) // best effort: not all file systems have locks
	}
	if err := removeStale(ctx, a.path); err != nil {
		return nil, fmt.Errorf("opening the admin socket: %w", err)
	}
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) (err error) {
		// The file is created with this mode, so that other users can never open it.
		controlErr := conn.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) })
		return errors.Join(controlErr, err)
	}}
	listener, err := config.Listen(ctx, "unix", a.path)
	if err != nil {
		return nil, fmt.Errorf("opening the admin socket: %w", err)
	}
	if err := os.Chmod(a.path, 0o600); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("opening the admin socket: %w", err)
	}
	return listener, nil
}

// removeStale removes a socket on which no process listens.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket: remove it, or give another --admin-socket", path)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("another process listens on %s: stop it, or give another --admin-socket", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("checking whether another process listens on %s: %w", path, err)
	}
	return os.Remove(path)
}

// adminBuffer is what the socket serves of a buffer. [journal.Journal] implements it.
type adminBuffer interface {
	admin.DeadLetters
	admin.Backlog
}

// adminHandler serves recent events and, with a buffer, what is in it.
func adminHandler(stored adminBuffer, seen *recent.Ring, logger *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/events", recent.Handler(seen))
	mux.Handle("/events/", recent.Handler(seen))
	if stored != nil {
		mux.Handle("/", admin.DeadLettersHandler(stored, logger)) // and the orders to erase
		mux.Handle("/backlog", admin.BacklogHandler(stored, logger))
		mux.Handle("/backlog/", admin.BacklogHandler(stored, logger))
	}
	return mux
}

// serve returns a function that serves a handler on the socket. If the disk is full or read-only the receiver starts
// without the default socket, to deliver what it can.
func (a *adminSocket) serve(handler http.Handler, logger *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		if a == nil {
			return nil
		}
		listener, err := a.listen(ctx)
		if !a.chosen && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EROFS)) {
			logger.Warn("Could not open the admin socket, continuing without it", "error", err.Error())
			return nil
		}
		if err != nil {
			return err
		}
		logger.Info("Serving the admin socket")
		return (&receiver.Server{Listener: listener, Handler: handler, Logger: logger}).Serve(ctx)
	}
}
