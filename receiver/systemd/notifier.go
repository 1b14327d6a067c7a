// Package systemd reports the state of the receiver to systemd, for units with Type=notify.
//
// The protocol is a datagram of NAME=VALUE lines to the socket that systemd names in NOTIFY_SOCKET, see sd_notify(3). It has not changed
// since 2010, so these lines need no library.
package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Notifier sends states to systemd. With an empty Socket, as outside of systemd, it sends nothing.
type Notifier struct {
	Socket string // value of NOTIFY_SOCKET: a path, or @ and a name in Linux's abstract namespace
	Logger *slog.Logger
}

// pause is the time between two questions whether the receiver is ready.
const pause = 50 * time.Millisecond

// Part returns a part of the receiver that sends READY=1 once ready returns no error: when routes are loaded and batches can be stored. It
// sends STOPPING=1 when stop ends, or the part's own context if that ends first. A state that cannot be sent is logged: the receiver itself
// works.
func (n *Notifier) Part(stop context.Context, ready func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if n.Socket == "" {
			return nil
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(stop, cancel)()
		if await(ctx, ready) {
			n.send(ctx, "READY=1")
			<-ctx.Done()
		}
		n.send(context.WithoutCancel(ctx), "STOPPING=1")
		return nil
	}
}

// await asks until the receiver is ready, and reports whether that was before ctx ended.
func await(ctx context.Context, ready func(context.Context) error) bool {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for ready(ctx) != nil {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}

func (n *Notifier) send(ctx context.Context, state string) {
	if err := n.write(ctx, state); err != nil {
		n.Logger.Warn("Not reported to systemd", "state", state, "error", err.Error())
	}
}

func (n *Notifier) write(ctx context.Context, state string) error {
	connection, err := new(net.Dialer).DialContext(ctx, "unixgram", n.Socket)
	if err != nil {
		return fmt.Errorf("connecting to NOTIFY_SOCKET: %w", err)
	}
	defer connection.Close() //nolint:errcheck // the datagram was sent, or not
	if _, err := connection.Write([]byte(state)); err != nil {
		return fmt.Errorf("writing to NOTIFY_SOCKET: %w", err)
	}
	return nil
}
