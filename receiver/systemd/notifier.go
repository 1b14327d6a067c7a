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
)

// Notifier sends states to systemd. With an empty Socket, as outside of systemd, it sends nothing.
type Notifier struct {
	Socket string // value of NOTIFY_SOCKET: a path, or @ and a name in Linux's abstract namespace
	Logger *slog.Logger
}

// Part returns a part of the receiver that waits for started, sends READY=1 if that returns true, and sends STOPPING=1 when stop ends, or
// the part's own context if that ends first. A state that cannot be sent is logged: the receiver itself works.
func (n *Notifier) Part(stop context.Context, started func(context.Context) bool) func(context.Context) error {
	return func(ctx context.Context) error {
		if started(ctx) {
			n.send(ctx, "READY=1")
		}
		select {
		case <-stop.Done():
		case <-ctx.Done():
		}
		n.send(context.WithoutCancel(ctx), "STOPPING=1")
		return nil
	}
}

func (n *Notifier) send(ctx context.Context, state string) {
	if n.Socket == "" {
		return
	}
	if err := n.write(ctx, state); err != nil {
		n.Logger.Warn("Not reported to systemd", "state", state, "error", err.Error())
	}
}

func (n *Notifier) write(ctx context.Context, state string) error {
	connection, err := new(net.Dialer).DialContext(ctx, "unixgram", n.Socket)
	if err != nil {
		return fmt.Errorf("connecting to NOTIFY_SOCKET: %w", err)
	}
	defer connection.Close()
	if _, err := connection.Write([]byte(state)); err != nil {
		return fmt.Errorf("writing to NOTIFY_SOCKET: %w", err)
	}
	return nil
}
