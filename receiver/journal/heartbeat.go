package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// aliveSubject is where each member says every aliveInterval that it is there, whoever leads what.
	aliveSubject  = "alive"
	aliveInterval = time.Second
	// deafTime is how long a member may have heard nothing of the others before it calls itself cut off.
	deafTime = 4 * time.Second
)

// errCutOff is why nothing can be kept when another member's answer is needed.
var errPartitioned = errors.New("nothing is heard of the other members")

// CutOff tells whether nothing was heard of the other members for some seconds. Connections to them may still be open: the
// server closes them later, because there may be much on its way.
func (c *Cluster) Partitioned() bool { return c.partitioned.Load() }

// converse says that a member is there, and takes note of whether others are, until stop is called.
func (c *Cluster) runHeartbeat(m *member) (stop func(), err error) {
	conn, err := m.connect()
	if err != nil {
		return nil, fmt.Errorf("connecting to the buffer's server: %w", describeConnectError(err))
	}
	heard := make(chan struct{}, 1)
	_, err = conn.Subscribe(aliveSubject, func(msg *nats.Msg) {
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
		return nil, fmt.Errorf("listening to the buffer's cluster: %w", err)
	}
	life, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.listen(life, conn, heard)
	}()
	return func() { cancel(); <-ended; conn.Close() }, nil
}

func (c *Cluster) listen(ctx context.Context, conn *nats.Conn, heard <-chan struct{}) {
	defer c.partitioned.Store(false)
	ticker := time.NewTicker(aliveInterval)
	defer ticker.Stop()
	for silent := time.Duration(0); !conn.IsClosed(); {
		select {
		case <-heard:
			silent = 0
			if c.partitioned.Swap(false) {
				c.Logger.Info("This member of the buffer's cluster hears others again")
			}
		case <-ticker.C:
			silent += aliveInterval                        // by ticks: a process that stood still has not listened
			_ = conn.Publish(aliveSubject, []byte(c.Name)) // an error means that the server ends
			if silent > deafTime && !c.partitioned.Swap(true) {
				c.Logger.Warn("This member of the buffer's cluster hears nothing of the others")
			}
		case <-ctx.Done():
			return
		}
	}
}
