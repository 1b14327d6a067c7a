package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
)

// adminSocketName is the name of the socket in the buffer's folder.
const adminSocketName = "admin.sock"

// maxSocketPath is the longest path that a socket may have: the system keeps room for so many bytes and an end.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// adminSocket is where a receiver is administered: who may open the socket may do all that it offers.
type adminSocket struct {
	path   string
	chosen bool // by the user, and not by us
}

// newAdminSocket finds the socket: the one that is given, or the one in the buffer's folder; nil if there is none.
func newAdminSocket(path string, buffer bufferOptions) (*adminSocket, error) {
	switch {
	case path != "" && buffer.kind == "":
		return nil, errors.New("--admin-socket needs --buffer, because it is for what is in the buffer")
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

// listen opens the socket for the user of this process alone. What a crash has left there is replaced.
func (a *adminSocket) listen(ctx context.Context) (net.Listener, error) {
	folder := filepath.Dir(a.path)
	if !a.chosen {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, fmt.Errorf("making the folder of the admin socket: %w", err)
		}
	}
	// Nobody else finds the same remains at the same time.
	if locked, err := os.Open(folder); err == nil { //nolint:gosec // the user's folder
		defer locked.Close()                                 //nolint:errcheck // it is only read
		_ = syscall.Flock(int(locked.Fd()), syscall.LOCK_EX) // where it cannot be locked, it is not
	}
	if err := clearSocket(ctx, a.path); err != nil {
		return nil, fmt.Errorf("opening the admin socket: %w", err)
	}
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) (err error) {
		// The file is made with this mode, so there is no time at which others could open it.
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

// clearSocket removes a socket on which nobody listens.
func clearSocket(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and is no socket: remove it, or give another --admin-socket", path)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("another process listens on %s: stop it, or give another --admin-socket", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("finding out whether another process listens on %s: %w", path, err)
	}
	return os.Remove(path)
}

// serve returns what serves dead letters on the socket. A receiver whose disk is full or read-only does without: it has to
// come up, and deliver what it can.
func (a *adminSocket) serve(letters admin.DeadLetters, logger *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		if a == nil {
			return nil
		}
		listener, err := a.listen(ctx)
		if !a.chosen && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EROFS)) {
			logger.Warn("Could not open the admin socket, doing without", "error", err.Error())
			return nil
		}
		if err != nil {
			return err
		}
		logger.Info("Serving the admin socket")
		return (&receiver.Server{Listener: listener, Handler: admin.DeadLettersHandler(letters, logger), Logger: logger}).Serve(ctx)
	}
}
