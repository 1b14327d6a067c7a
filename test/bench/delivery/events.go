package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

const (
	minEventBytes = 600
	maxEventBytes = 4000
	// sampleID is the message id in the samples.
	sampleID = "7b1f0c55a3e24f0db2c9d6e8f4a10b37"
)

// eventGenerator generates events of every kind, which differ in ids, addresses and sizes. Small ones are more frequent: half of them
// have less than 1.6 KB.
type eventGenerator struct {
	random  *rand.Rand
	samples [][]byte
}

func newEventGenerator(seed uint64) *eventGenerator {
	g := &eventGenerator{random: rand.New(rand.NewPCG(seed, seed))} //nolint:gosec // not for secrets
	samples := mandrilltest.Samples()
	for _, name := range slices.Sorted(maps.Keys(samples)) {
		var out bytes.Buffer
		if err := json.Compact(&out, samples[name]); err != nil || !bytes.HasSuffix(out.Bytes(), []byte("}")) {
			continue
		}
		if sample := bytes.TrimSuffix(out.Bytes(), []byte("}")); len(sample) < maxEventBytes {
			g.samples = append(g.samples, sample)
		}
	}
	return g
}

// event returns an event with its own message id and address, so that no event waits for another one.
func (g *eventGenerator) event() []byte {
	event := slices.Clone(g.samples[g.random.IntN(len(g.samples))])
	event = bytes.ReplaceAll(event, []byte(sampleID), []byte(harness.Hex(g.random, 16)))
	event = bytes.ReplaceAll(event, []byte("@"), []byte("+"+harness.Hex(g.random, 6)+"@"))
	event = fmt.Appendf(event, `,"metadata":{"order":%q,"note":"`, harness.Hex(g.random, 8))
	size := int(minEventBytes * math.Pow(float64(maxEventBytes)/minEventBytes, g.random.Float64()))
	const text = "the quick brown fox, jumps; over: the <lazy> dog. "
	if more := size - len(event) - 3; more > 0 {
		event = append(event, strings.Repeat(text, more/len(text)+1)[:more]...)
	}
	return append(event, `"}}`...)
}

func (g *eventGenerator) events(n int) [][]byte {
	events := make([][]byte, n)
	for i := range events {
		events[i] = g.event()
	}
	return events
}
