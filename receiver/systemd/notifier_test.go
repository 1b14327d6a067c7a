package systemd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/systemd"
)

// listen returns the socket of a systemd.
func listen(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return socket
}

// next returns the next state that arrives at a socket.
func next(t *testing.T, socket *net.UnixConn) string {
	t.Helper()
	if err := socket.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var buffer [1024]byte
	n, err := socket.Read(buffer[:])
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:n])
}

var errNotReady = errors.New("not ready")

// READY=1 comes when the receiver is ready, and STOPPING=1 as soon as the receiver is told to stop: its parts still run then.
func TestStatesAreReported(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{
		"path":     filepath.Join(t.TempDir(), "notify"),
		"abstract": fmt.Sprintf("@mandrill-receiver-test-%d", os.Getpid()),
	} {
		if strings.HasPrefix(address, "@") && runtime.GOOS != "linux" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket := listen(t, address)
			stop, cancel := context.WithCancel(t.Context())
			defer cancel()
			var asked atomic.Int64
			ended := make(chan error)
			notifier := systemd.Notifier{Socket: address, Logger: slog.New(slog.DiscardHandler)}
			part := notifier.Part(stop, func(context.Context) error {
				if asked.Add(1) < 3 {
					return errNotReady
				}
				return nil
			})
			go func() { ended <- part(t.Context()) }()
			if got := next(t, socket); got != "READY=1" || asked.Load() != 3 {
				t.Errorf("got %q after %d questions", got, asked.Load())
			}
			cancel()
			if got := next(t, socket); got != "STOPPING=1" {
				t.Errorf("got %q", got)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// A receiver that is stopped before it is ready was never ready.
func TestNeverReadyIsNotReported(t *testing.T) {
	t.Parallel()
	address := filepath.Join(t.TempDir(), "notify")
	socket := listen(t, address)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	notifier := systemd.Notifier{Socket: address, Logger: slog.New(slog.DiscardHandler)}
	if err := notifier.Part(t.Context(), func(context.Context) error { return errNotReady })(ended); err != nil {
		t.Error(err)
	}
	if got := next(t, socket); got != "STOPPING=1" {
		t.Errorf("got %q", got)
	}
}

// Without systemd nothing is sent. A socket that is gone is a warning, not the end of the receiver.
func TestReceiverWorksWithoutSystemd(t *testing.T) {
	t.Parallel()
	for socket, want := range map[string]bool{"": false, filepath.Join(t.TempDir(), "gone"): true} {
		stop, cancel := context.WithCancel(t.Context())
		defer cancel()
		var log bytes.Buffer
		notifier := systemd.Notifier{Socket: socket, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		ready := func(context.Context) error { defer cancel(); return nil }
		if err := notifier.Part(stop, ready)(t.Context()); err != nil {
			t.Error(err)
		}
		if got := strings.Contains(log.String(), "STOPPING=1"); got != want {
			t.Errorf("socket %q: logged %q", socket, log.String())
		}
	}
}
