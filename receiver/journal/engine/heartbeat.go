package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// heartbeatSubject is where each member publishes its name, with the header fullHeader while the buffer has filled its volume.
	heartbeatSubject = "alive"
	fullHeader       = "Volume-Full"
	// fullInterval is how often a member looks whether that has changed. Its peers go on sending it batches until they know.
	fullInterval = 100 * time.Millisecond
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
		m.reserve.setPeer(string(msg.Data), msg.Header.Get(fullHeader) != "", time.Now())
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
		c.heartbeat(ctx, conn, m, heard)
	}()
	return func() { cancel(); <-ended; conn.Close() }, nil
}

// heartbeat keeps c.partitioned up to date. It counts ticks instead of reading the clock: a process that was suspended has
// not listened.
func (c *Cluster) heartbeat(ctx context.Context, conn *nats.Conn, m *member, heard <-chan struct{}) {
	defer c.partitioned.Store(false)
	ticker, fullTicker := time.NewTicker(HeartbeatInterval), time.NewTicker(fullInterval)
	defer ticker.Stop()
	defer fullTicker.Stop()
	full := false
	for silent := time.Duration(0); !conn.IsClosed(); {
		select {
		case <-heard:
			silent = 0
			if c.partitioned.Swap(false) {
				c.Logger.Info("Regained contact with the other buffer members")
			}
		case <-fullTicker.C:
			if now := m.isFull(); now != full {
				full = now
				c.publishHeartbeat(conn, full)
			}
		case <-ticker.C:
			silent += HeartbeatInterval
			c.publishHeartbeat(conn, full)
			if silent > HeartbeatTimeout && !c.partitioned.Swap(true) {
				c.Logger.Warn("Lost contact with the other buffer members, refusing batches")
			}
		case <-ctx.Done():
			return
		}
	}
}

func (c *Cluster) publishHeartbeat(conn *nats.Conn, full bool) {
	msg := nats.NewMsg(heartbeatSubject)
	msg.Data = []byte(c.Name)
	if full {
		msg.Header.Set(fullHeader, "true")
	}
	_ = conn.PublishMsg(msg) // it fails only when the server stops
}
