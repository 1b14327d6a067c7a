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
	stressSeed  = flag.Uint64("stress-seed", 0, "seed of TestStress; default: another one each time")
	stressSteps = flag.Int("stress-steps", 120, "steps of TestStress")
)

// moody sinks answer as chance has it. What they accept is kept in order.
type moody struct {
	mu       sync.Mutex
	random   *rand.Rand
	healed   bool
	down     map[string]bool
	accepted map[string][]int // events by host
}

// number is in each event, and so in each request, whatever the content mode. What is no JSON is encoded in some.
var (
	number  = regexp.MustCompile(`"n":(\d+)`)
	encoded = regexp.MustCompile(`"data_base64":"([^"]*)"`)
)

func numbers(data []byte) (list []int) {
	data = encoded.ReplaceAllFunc(data, func(field []byte) []byte {
		text, _ := base64.StdEncoding.DecodeString(string(encoded.FindSubmatch(field)[1]))
		return text
	})
	for _, found := range number.FindAllSubmatch(data, -1) {
		n, _ := strconv.Atoi(string(found[1]))
		list = append(list, n)
	}
	return list
}

func (m *moody) Post(_ context.Context, target sink.Target, payload sink.Payload) error {
	host, _, _ := strings.Cut(strings.TrimPrefix(target.URI, "http://"), ".")
	pause, err := m.mood(host)
	if pause > 0 {
		<-time.After(pause)
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.accepted[host] = append(m.accepted[host], numbers(payload.Body)...)
	return nil
}

func (m *moody) mood(host string) (pause time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.random.IntN(10) == 0 {
		pause = time.Duration(m.random.IntN(30)) * time.Millisecond
	}
	if m.healed {
		return pause, nil
	}
	if m.down[host] {
		return pause, errDown
	}
	switch dice := m.random.IntN(100); {
	case dice < 15:
		return pause, errDown
	case dice < 18:
		return pause, &sink.Error{Status: http.StatusBadRequest, Answer: "no"}
	case dice < 21:
		return pause, &sink.Error{Status: http.StatusTooManyRequests, After: 20 * time.Millisecond}
	case dice < 22: // longer than the first round is waited for
		return 1200 * time.Millisecond, nil
	}
	return pause, nil
}

// model is what was posted, against which is held what became of it.
type model struct {
	*buffered
	random   *rand.Rand
	sinks    *moody
	all      map[string]routes.Delivery
	messages []string            // of each event, with its webhook; without one it has no order
	batches  map[string][][]byte // the last one of each webhook
}

func newModel(t *testing.T, seed uint64) *model {
	t.Helper()
	two := 2
	m := &model{random: rand.New(rand.NewPCG(seed, 1)), batches: map[string][][]byte{}}
	m.sinks = &moody{random: rand.New(rand.NewPCG(seed, 2)), down: map[string]bool{}, accepted: map[string][]int{}}
	dead := &routes.Sink{URI: "http://dead.example/"}
	m.all = map[string]routes.Delivery{
		"a": {BackoffDelay: "PT0.01S"},
		"b": {BackoffDelay: "PT0.01S", Retry: &two, ContentMode: string(sink.Batched)},
		"c": {BackoffDelay: "PT0.01S", Retry: &two, DeadLetterSink: dead, ContentMode: string(sink.Structured)},
		"d": {BackoffDelay: "PT0.01S", Retry: new(int), DeadLetterSink: dead},
	}
	m.buffered = newBuffered(t, func(b *buffered) {
		b.webhooks, b.poster, b.options.Memory = maps.Clone(m.all), m.sinks, 256<<10
		b.sinks = nil
	})
	return m
}

// batch posts events of a few messages, and what is no JSON, and now and then the last batch of a webhook again.
func (m *model) batch() {
	m.t.Helper()
	webhook := slices.Sorted(maps.Keys(m.all))[m.random.IntN(len(m.all))]
	if last := m.batches[webhook]; last != nil && m.random.IntN(8) == 0 {
		m.raw(webhook, last...)
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
	if m.raw(webhook, batch...) == http.StatusOK {
		m.messages = append(m.messages, messages...)
		m.batches[webhook] = batch
	}
}

func (m *model) step() {
	m.t.Helper()
	names := slices.Sorted(maps.Keys(m.all))
	webhook := names[m.random.IntN(len(names))]
	switch m.random.IntN(24) {
	case 0:
		if m.random.IntN(3) == 0 {
			m.stop()
			m.start()
		}
	case 1:
		delete(m.webhooks, webhook)
		m.load()
	case 2, 3:
		m.webhooks = maps.Clone(m.all)
		m.load()
	case 4:
		m.suspended = map[string]bool{webhook: true}
		m.load()
	case 5, 6:
		m.suspended = nil
		m.load()
	case 7:
		m.sinks.mu.Lock()
		m.sinks.down[webhook] = !m.sinks.down[webhook]
		m.sinks.mu.Unlock()
	default:
		m.batch()
	}
}

// check finds what was lost, what came twice, and what overtook another event of its message.
func (m *model) check() {
	m.t.Helper()
	count := make([]int, len(m.messages))
	for host, list := range m.sinks.accepted {
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
	buried := m.buried()
	for _, n := range buried {
		count[n]++
	}
	for n, times := range count {
		if times != 1 {
			m.t.Errorf("event %d, of %q, was delivered or given up %d times", n, m.messages[n], times)
		}
	}
	m.t.Logf("%d events, %d by dead letter sink, %d buried", len(count), len(m.sinks.accepted["dead"]), len(buried))
}

// buried are the events that are dead letters.
func (m *model) buried() (list []int) {
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
			list = append(list, numbers(entry.Raw)...)
		}
		if after = next; next == 0 {
			return list
		}
	}
}

// settle waits until nothing is left to be done. Something new is known after all that was there before.
func (m *model) settle() {
	m.t.Helper()
	for webhook := range m.all {
		n := len(m.messages)
		m.messages = append(m.messages, "")
		if status := m.raw(webhook, fmt.Appendf(nil, `{"event":"spam","n":%d}`, n)); status != http.StatusOK {
			m.t.Fatalf("status %d, want 200", status)
		}
		eventually(m.t, "delivery of the last event", func() bool {
			m.sinks.mu.Lock()
			defer m.sinks.mu.Unlock()
			return slices.Contains(m.sinks.accepted[webhook], n)
		})
	}
	m.empty()
	eventually(m.t, "the memory given back", func() bool { return m.dispatcher.MemoryReleased() })
}

// Whatever sinks, routes and restarts do, each event is delivered or given up, once, and in order.
func TestStress(t *testing.T) {
	t.Parallel()
	seed := *stressSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-stress-seed=%d", seed)
	m := newModel(t, seed)
	for range *stressSteps {
		m.step()
	}
	m.sinks.mu.Lock()
	m.sinks.healed = true
	m.sinks.mu.Unlock()
	m.webhooks, m.suspended = maps.Clone(m.all), nil
	m.load()
	m.settle()
	m.stop()
	m.start() // what was finished stays so
	m.settle()
	m.sinks.mu.Lock()
	defer m.sinks.mu.Unlock()
	m.check()
}
