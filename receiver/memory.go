package receiver

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

const (
	// memoryAge is how long a delivered event is remembered at least, if there are not too many: Mandrill sends a batch
	// again for up to 20 times 25 minutes.
	memoryAge = 9 * time.Hour
	// memorySize is how many are remembered at least. They take some 20 MB, and twice as many are kept at most. While a
	// batch fails Mandrill sends nothing else to its URL, so it is the traffic of the other routes that this must outlast.
	memorySize = 500_000
)

// memory remembers which events were delivered, so that a batch that comes again sends only the rest. It has two
// generations: when the younger one is full, or old, it takes the place of the older one.
type memory struct {
	size int

	mu             sync.Mutex // guards what follows
	younger, older map[memoryKey]struct{}
	begun          time.Time
}

type memoryKey [16]byte

func newMemory(size int) *memory {
	return &memory{size: size, younger: map[memoryKey]struct{}{}, begun: time.Now()}
}

// keyOf is the same for the route of an earlier URL: what was sent there first may come again here.
func keyOf(route *Route, id string) memoryKey {
	sum := sha256.Sum256([]byte(routes.Webhook(route.Name) + "\x00" + id))
	return memoryKey(sum[:16])
}

func (m *memory) has(key memoryKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn()
	if _, ok := m.younger[key]; ok {
		return true
	}
	_, ok := m.older[key]
	return ok
}

func (m *memory) add(key memoryKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn()
	m.younger[key] = struct{}{}
}

func (m *memory) turn() {
	age := time.Since(m.begun)
	if age < memoryAge && len(m.younger) < m.size {
		return
	}
	m.older, m.younger, m.begun = m.younger, map[memoryKey]struct{}{}, time.Now()
	if age >= 2*memoryAge {
		m.older = nil
	}
}
