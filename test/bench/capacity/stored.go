package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

// The shapes of events.
const (
	activity = "open, click, send" // some 1.1 KB, of which a quarter is of random ids
	mail     = "inbound mail"      // a text of 16 KB
)

// storedEvents are the bytes that an event takes in the buffer, as store measured them. The test measures them again.
var storedEvents = []struct {
	shape string
	batch int // events
	bytes float64
}{
	{activity, 1, 1229}, {activity, 100, 288}, {activity, 1000, 273}, {mail, 1, 16633}, {mail, 10, 11988},
}

// storedBytes returns the bytes of an event in batches of some size.
func storedBytes(shape string, batch int) float64 {
	for _, measured := range storedEvents {
		if measured.shape == shape && measured.batch == batch {
			return measured.bytes
		}
	}
	panic(fmt.Sprintf("batches of %d were not measured", batch))
}

// bytesPerEvent is what an event takes: as Mandrill sends it, and in the files of the buffer.
type bytesPerEvent struct{ raw, stored float64 }

// store stores batches in an embedded buffer and measures what they take.
func store(ctx context.Context, dir, shape string, size, count int) (found bytesPerEvent, err error) {
	const total = 4 << 30
	limits, err := journal.SplitLimits(total, 0)
	if err != nil {
		return found, err
	}
	folder, err := os.MkdirTemp(dir, "buffer-")
	if err != nil {
		return found, err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	j := journal.New(journal.Options{Engine: &engine.Embedded{Dir: folder, Logger: logger}, Limits: limits, Logger: logger})
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- j.Run(running) }()
	defer func() { cancel(); err = errors.Join(err, <-ended) }()
	if err := j.WaitAvailable(ctx); err != nil {
		return found, err
	}
	before, err := harness.FileBytes(folder, ".blk")
	if err != nil {
		return found, err
	}
	g := &generator{random: rand.New(rand.NewPCG(uint64(size), 1)), shape: shape} //nolint:gosec // not for secrets
	raw := 0
	for range count {
		batch := g.batch(size)
		raw += len(batch.Value)
		if _, err := j.Append(ctx, batch); err != nil {
			return found, err
		}
	}
	after, err := harness.FileBytes(folder, ".blk")
	events := float64(size * count)
	return bytesPerEvent{float64(raw) / events, float64(after-before) / events}, err
}

// generator makes events that differ like real ones, so that compression is realistic.
type generator struct {
	random *rand.Rand
	shape  string
}

func (g *generator) batch(size int) journal.Batch {
	events := make([][]byte, size)
	for i := range events {
		events[i] = g.event()
	}
	return journal.Batch{Webhook: "shop/transactional", Received: time.Now(), Value: mandrilltest.Batch(events...), Events: events, IDs: func() []string {
		ids := make([]string, len(events))
		for i := range ids {
			ids[i] = strconv.Itoa(i)
		}
		return ids
	}}
}

// event makes an event. Repeated members are fine: the last one counts.
func (g *generator) event() []byte {
	kinds := []string{"send", "delivered", "open", "click", "hard_bounce", "soft_bounce"}
	if g.shape == mail {
		kinds = []string{"inbound"}
	}
	var event bytes.Buffer
	if err := json.Compact(&event, mandrilltest.Samples()[kinds[g.random.IntN(len(kinds))]]); err != nil {
		panic(err) // the samples are tested
	}
	event.Truncate(event.Len() - 1)
	fmt.Fprintf(&event, `,"_id":%q,"ts":%d,"ip":"198.51.100.%d","metadata":{"order":%q,"cart":%q},"sender":"orders+%s@shop.example","trace":%q`+
		`,"location":{"latitude":%.6f,"longitude":%.6f}`,
		harness.Hex(g.random, 16), 1795227543+g.random.IntN(1e6), g.random.IntN(256), harness.Hex(g.random, 8), harness.Hex(g.random, 16), harness.Hex(g.random, 4), harness.Hex(g.random, 60), g.random.Float64()*90, g.random.Float64()*90)
	if g.shape == mail {
		fmt.Fprintf(&event, `,"text":%q`, g.words(16<<10))
	}
	event.WriteString("}")
	return slices.Clone(event.Bytes())
}

// words returns text of words that differ, which compresses about as prose does.
func (g *generator) words(length int) string {
	var text strings.Builder
	for text.Len() < length {
		word := g.random.IntN(4000) // as many words as a person uses
		for letters := 2 + word%7; letters > 0; letters-- {
			text.WriteByte(byte('a' + word%23))
			word = word*31%9973 + letters
		}
		text.WriteByte(' ')
	}
	return text.String()
}
