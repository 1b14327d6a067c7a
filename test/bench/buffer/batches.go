package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

const (
	batchEvents = 1000 // Mandrill's maximum
	hookURL     = "https://hooks.example.com/bench"
	hookKey     = "bench-signing-key"
)

// batchGenerator generates events that differ like real ones, in ids, addresses and times, so that compression is realistic.
type batchGenerator struct {
	random  *rand.Rand
	samples [][]byte
}

func newBatchGenerator(seed uint64) *batchGenerator {
	m := &batchGenerator{random: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // not for secrets
	samples := mandrilltest.Samples()
	for _, kind := range []string{"send", "delivered", "open", "click", "hard_bounce", "soft_bounce"} {
		m.samples = append(m.samples, compact(samples[kind]))
	}
	return m
}

// compact returns a sample as Mandrill sends it, without the closing brace, so that members can be added.
func compact(sample []byte) []byte {
	var out bytes.Buffer
	if err := json.Compact(&out, sample); err != nil {
		panic(err) // the samples are tested
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("}"))
}

func (m *batchGenerator) randomHex(n int) string {
	raw := make([]byte, n)
	for i := range raw {
		raw[i] = byte(m.random.Uint32()) //nolint:gosec // the lower bits
	}
	return hex.EncodeToString(raw)
}

// event returns an event of some 1.1 KB. Repeated members are fine: the last one counts.
func (m *batchGenerator) event() []byte {
	sample := m.samples[m.random.IntN(len(m.samples))]
	event := slices.Clone(sample)
	id := m.randomHex(16)
	return fmt.Appendf(event, `,"state":"sent","metadata":{"order":%q,"cart":%q},"user_agent_parsed":null,"sender":"orders+%s@shop.example","_version":%q`+
		`,"_id":%q,"ts":%d,"ip":"198.51.100.%d","location":{"latitude":%s,"longitude":%s},"trace":%q}`,
		m.randomHex(8), m.randomHex(16), m.randomHex(4), m.randomHex(11), id, 1795227543+m.random.IntN(1e6), m.random.IntN(256), m.randomDegrees(), m.randomDegrees(), m.randomHex(48))
}

func (m *batchGenerator) randomDegrees() string {
	return strconv.FormatFloat(m.random.Float64()*90, 'f', 6, 64)
}

func (m *batchGenerator) events(n int) [][]byte {
	events := make([][]byte, n)
	for i := range events {
		events[i] = m.event()
	}
	return events
}

func webhookName(i int) string { return "bench/" + strconv.Itoa(i) }

func webhookURL(i int) string { return hookURL + "/" + strconv.Itoa(i) }

func journalBatch(events [][]byte) journal.Batch {
	return journal.Batch{Webhook: webhookName(0), Received: time.Now(), Value: mandrilltest.Batch(events...), Events: events, IDs: func() []string {
		ids := make([]string, len(events))
		for i := range ids {
			ids[i] = strconv.Itoa(i)
		}
		return ids
	}}
}
