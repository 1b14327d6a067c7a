package dispatch_test

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

var (
	stressSeed  = flag.Uint64("stress-seed", 0, "seed of the stress test; default: random")
	stressSteps = flag.Int("stress-steps", 120, "steps of the stress test")
)

// flakySinks answer at random until they have recovered. They record accepted events in order.
type flakySinks struct {
	mu        sync.Mutex
	random    *rand.Rand
	recovered bool
	down      map[string]bool
	accepted  map[string][]int // event numbers by host
}

// Each event has a number, which is in the request in every content mode. In some, events that are not JSON are in Base64.
var (
	eventNumber = regexp.MustCompile(`"n":(\d+)`)
	base64Data  = regexp.MustCompile(`"data_base64":"([^"]*)"`)
)

func eventNumbers(data []byte) (list []int) {
	data = base64Data.ReplaceAllFunc(data, func(field []byte) []byte {
		text, _ := base64.StdEncoding.DecodeString(string(base64Data.FindSubmatch(field)[1]))
		return text
	})
	for _, found := range eventNumber.FindAllSubmatch(data, -1) {
		n, _ := strconv.Atoi(string(found[1]))
		list = append(list, n)
	}
	return list
}

func (m *flakySinks) Post(ctx context.Context, target sink.Target, payload sink.Payload) (int, error) {
	host, _, _ := strings.Cut(strings.TrimPrefix(target.URI, "http://"), ".")
	latency, err := m.draw(host)
	select {
	case <-time.After(latency):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.accepted[host] = append(m.accepted[host], eventNumbers(payload.Body)...)
	return 0, nil
}

func (m *flakySinks) draw(host string) (latency time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.random.IntN(10) == 0 {
		latency = time.Duration(m.random.IntN(30)) * time.Millisecond
	}
	if m.recovered {
		return latency, nil
	}
	if m.down[host] {
		return latency, errSinkDown
	}
	switch chance := m.random.IntN(100); {
	case chance < 15:
		return latency, errSinkDown
	case chance < 18:
		return latency, &sink.Error{Status: http.StatusBadRequest, Answer: "no"}
	case chance < 21:
		return latency, &sink.Error{Status: http.StatusTooManyRequests, After: 20 * time.Millisecond}
	case chance < 22: // longer than a cycle
		return 1200 * time.Millisecond, nil
	}
	return latency, nil
}

// stressTest is a receiver under load, with the model of what must become of the posted events.
type stressTest struct {
	*bufferedReceiver
	random      *rand.Rand
	flaky       *flakySinks
	allWebhooks map[string]routes.Delivery
	messages    []string            // webhook and message of each event number; empty: no order
	batches     map[string][][]byte // the last batch of each webhook
}

func newStressTest(t *testing.T, seed uint64) *stressTest {
	t.Helper()
	retries := 2
	m := &stressTest{random: rand.New(rand.NewPCG(seed, 1)), batches: map[string][][]byte{}}
	m.flaky = &flakySinks{random: rand.New(rand.NewPCG(seed, 2)), down: map[string]bool{}, accepted: map[string][]int{}}
	deadLetterSink := &routes.Sink{URI: "http://dead.example/"}
	m.allWebhooks = map[string]routes.Delivery{
		"a": {BackoffDelay: "PT0.01S"},
		"b": {BackoffDelay: "PT0.01S", Retry: &retries, ContentMode: string(sink.Batched)},
		"c": {BackoffDelay: "PT0.01S", Retry: &retries, DeadLetterSink: deadLetterSink, ContentMode: string(sink.Structured)},
		"d": {BackoffDelay: "PT0.01S", Retry: new(int), DeadLetterSink: deadLetterSink},
	}
	m.bufferedReceiver = newBufferedReceiver(t, func(b *bufferedReceiver) {
		b.webhooks, b.poster, b.options.Memory = maps.Clone(m.allWebhooks), m.flaky, 256<<10
		b.sinks = nil
	})
	return m
}

// postBatch posts events of a few messages, some that are not JSON, and now and then the webhook's last batch again.
func (m *stressTest) postBatch() {
	m.t.Helper()
	webhook := slices.Sorted(maps.Keys(m.allWebhooks))[m.random.IntN(len(m.allWebhooks))]
	if last := m.batches[webhook]; last != nil && m.random.IntN(8) == 0 {
		m.postRaw(webhook, last...)
		return
	}
	var batch [][]byte
	var messages []string
	for range 1 + m.random.IntN(30) {
		n, message := len(m.messages)+len(messages), ""
		switch kind := m.random.IntN(20); {
		case kind == 0:
			batch = append(batch, fmt.Appendf(nil, `{"n":%d,nonsense}`, n))
		case kind < 4:
			batch = append(batch, fmt.Appendf(nil, `{"event":"send","n":%d}`, n))
		default:
			id := strconv.Itoa(m.random.IntN(12))
			message = webhook + " " + id
			batch = append(batch, fmt.Appendf(nil, `{"event":"open","_id":%q,"n":%d}`, id, n))
		}
		messages = append(messages, message)
	}
	if m.postRaw(webhook, batch...) == http.StatusOK {
		m.messages = append(m.messages, messages...)
		m.batches[webhook] = batch
	}
}

func (m *stressTest) step() {
	m.t.Helper()
	names := slices.Sorted(maps.Keys(m.allWebhooks))
	webhook := names[m.random.IntN(len(names))]
	switch m.random.IntN(24) {
	case 0:
		if m.random.IntN(3) == 0 {
			m.stop()
			m.start()
		}
	case 1:
		delete(m.webhooks, webhook)
		m.loadRoutes()
	case 2, 3:
		m.webhooks = maps.Clone(m.allWebhooks)
		m.loadRoutes()
	case 4:
		m.suspended = map[string]bool{webhook: true}
		m.loadRoutes()
	case 5, 6:
		m.suspended = nil
		m.loadRoutes()
	case 7:
		m.flaky.mu.Lock()
		m.flaky.down[webhook] = !m.flaky.down[webhook]
		m.flaky.mu.Unlock()
	default:
		m.postBatch()
	}
}

// check reports events that were lost, were delivered twice, or overtook another one of their message.
func (m *stressTest) check() {
	m.t.Helper()
	count := make([]int, len(m.messages))
	for host, list := range m.flaky.accepted {
		last := map[string]int{}
		for _, n := range list {
			count[n]++
			if message := m.messages[n]; message != "" && host != "dead" {
				if before, ok := last[message]; ok && before > n {
					m.t.Errorf("%s: event %d of message %q came after event %d", host, n, message, before)
				}
				last[message] = n
			}
		}
	}
	deadLettered := m.deadLetteredEvents()
	for _, n := range deadLettered {
		count[n]++
	}
	for n, times := range count {
		if times != 1 {
			m.t.Errorf("event %d of %q was delivered or dead-lettered %d times, want once", n, m.messages[n], times)
		}
	}
	m.t.Logf("%d events, %d accepted by the dead letter sink, %d dead letters", len(count), len(m.flaky.accepted["dead"]), len(deadLettered))
}

// deadLetteredEvents returns the numbers of the events that are dead letters.
func (m *stressTest) deadLetteredEvents() (list []int) {
	m.t.Helper()
	for after := uint64(0); ; {
		page, next, err := m.journal.DeadLetters(m.t.Context(), journal.DeadLetterFilter{}, after, journal.MaxDeadLetters)
		if err != nil {
			m.t.Fatal(err)
		}
		for _, letter := range page {
			_, entry, err := m.journal.DeadLetter(m.t.Context(), letter.Seq)
			if err != nil {
				m.t.Fatal(err)
			}
			list = append(list, eventNumbers(entry.Raw)...)
		}
		if after = next; next == 0 {
			return list
		}
	}
}

// waitSettled waits until the backlog is empty. It posts an event to each webhook first, which is listed after all earlier ones.
func (m *stressTest) waitSettled() {
	m.t.Helper()
	for webhook := range m.allWebhooks {
		n := len(m.messages)
		m.messages = append(m.messages, "")
		if status := m.postRaw(webhook, fmt.Appendf(nil, `{"event":"spam","n":%d}`, n)); status != http.StatusOK {
			m.t.Fatalf("status %d, want 200", status)
		}
		eventually(m.t, "delivery of the last event", func() bool {
			m.flaky.mu.Lock()
			defer m.flaky.mu.Unlock()
			return slices.Contains(m.flaky.accepted[webhook], n)
		})
	}
	m.waitEmpty()
	eventually(m.t, "release of all memory", func() bool { return m.dispatcher.MemoryReleased() })
}

// Sinks fail, routes change and the receiver restarts at random. Each event is still delivered or dead-lettered once, and in order.
func TestStressDeliversEachEventOnceInOrder(t *testing.T) {
	t.Parallel()
	seed := *stressSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-stress-seed=%d", seed)
	m := newStressTest(t, seed)
	for range *stressSteps {
		m.step()
	}
	m.flaky.mu.Lock()
	m.flaky.recovered = true
	m.flaky.mu.Unlock()
	m.webhooks, m.suspended = maps.Clone(m.allWebhooks), nil
	m.loadRoutes()
	m.waitSettled()
	m.stop()
	m.start() // delivered events stay delivered
	m.waitSettled()
	m.flaky.mu.Lock()
	defer m.flaky.mu.Unlock()
	m.check()
}
