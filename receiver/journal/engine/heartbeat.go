package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// heartbeatSubject is where each member publishes its name.
	heartbeatSubject = "alive"
	// HeartbeatInterval is how often it does.
	HeartbeatInterval = time.Second
	// HeartbeatTimeout is how long a member may hear nothing of the others before it counts as partitioned. The server closes a
	// route only after RoutePing*RoutePings, and later if much is on its way.
	HeartbeatTimeout = 4 * time.Second
)

// runHeartbeat publishes heartbeats of a member and listens for those of its peers, until stop is called.
func (c *Cluster) runHeartbeat(m *member) (stop func(), err error) {
	conn, err := m.connect()
	if err != nil {
		return nil, err
	}
	heard := make(chan struct{}, 1)
	_, err = conn.Subscribe(heartbeatSubject, func(msg *nats.Msg) {
		if string(msg.Data) == c.Name {
			return
		}
		select {
		case heard <- struct{}{}:
		default:
		}
	})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("subscribing to heartbeats: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.heartbeat(ctx, conn, heard)
	}()
	return func() { cancel(); <-ended; conn.Close() }, nil
}

// heartbeat keeps c.partitioned up to date. It counts ticks instead of reading the clock: a process that was suspended has
// not listened.
func (c *Cluster) heartbeat(ctx context.Context, conn *nats.Conn, heard <-chan struct{}) {
	defer c.partitioned.Store(false)
	ticker := time.NewTicker(HeartbeatInterval)
	defer ticker.Stop()
	for silent := time.Duration(0); !conn.IsClosed(); {
		select {
		case <-heard:
			silent = 0
			if c.partitioned.Swap(false) {
				c.Logger.Info("Regained contact with the other buffer members")
			}
		case <-ticker.C:
			silent += HeartbeatInterval
			_ = conn.Publish(heartbeatSubject, []byte(c.Name)) // it fails only when the server stops
			if silent > HeartbeatTimeout && !c.partitioned.Swap(true) {
				c.Logger.Warn("Lost contact with the other buffer members, refusing batches")
			}
		case <-ctx.Done():
			return
		}
	}
}
