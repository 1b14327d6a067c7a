package journal

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	listenInterval = time.Second
	// deafAfter is how many times in a row a member may have heard nothing of the others before it calls itself cut off. They
	// say something every second: whoever leads a stream does, and whoever follows answers.
	deafAfter = 4
)

// errCutOff is why nothing can be kept when another member's answer is needed.
var errCutOff = errors.New("nothing is heard of the other members")

// CutOff tells whether nothing was heard of the other members for some seconds. Connections to them may still be open: the
// server closes them later, because there may be much on its way.
func (c *Cluster) CutOff() bool { return c.cutOff.Load() }

// listen takes note of whether anything is heard of the others, until the context ends.
func (c *Cluster) listen(ctx context.Context, running *server.Server) {
	defer c.cutOff.Store(false)
	ticker := time.NewTicker(listenInterval)
	defer ticker.Stop()
	heard := map[uint64]int64{} // messages, by connection
	for silent := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		routes, err := running.Routez(nil)
		if err != nil {
			continue
		}
		silent++
		now := make(map[uint64]int64, len(routes.Routes))
		for _, route := range routes.Routes {
			now[route.Rid] = route.InMsgs
			if route.InMsgs > heard[route.Rid] {
				silent = 0
			}
		}
		heard = now
		cut := silent >= deafAfter
		if was := c.cutOff.Swap(cut); cut && !was {
			c.Logger.Warn("This member of the buffer's cluster hears nothing of the others")
		} else if was && !cut {
			c.Logger.Info("This member of the buffer's cluster hears others again")
		}
	}
}
