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
	deliveredCacheSize = 500_000
)

// memory remembers which events were delivered, so that a batch that comes again sends only the rest. It has two
// generations: when the younger one is full, or old, it takes the place of the older one.
type deliveredCache struct {
	size int

	mu                sync.Mutex // guards what follows
	current, previous map[deliveredKey]struct{}
	begun             time.Time
}

type deliveredKey [16]byte

func newDeliveredCache(size int) *deliveredCache {
	return &deliveredCache{size: size, current: map[deliveredKey]struct{}{}, begun: time.Now()}
}

// keyOf is the same for the route of an earlier URL: what was sent there first may come again here.
func keyOf(route *Route, id string) deliveredKey {
	sum := sha256.Sum256([]byte(routes.Webhook(route.Name) + "\x00" + id))
	return deliveredKey(sum[:16])
}

func (m *deliveredCache) has(key deliveredKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn()
	if _, ok := m.current[key]; ok {
		return true
	}
	_, ok := m.previous[key]
	return ok
}

func (m *deliveredCache) add(key deliveredKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn()
	m.current[key] = struct{}{}
}

func (m *deliveredCache) turn() {
	age := time.Since(m.begun)
	if age < memoryAge && len(m.current) < m.size {
		return
	}
	m.previous, m.current, m.begun = m.current, map[deliveredKey]struct{}{}, time.Now()
	if age >= 2*memoryAge {
		m.previous = nil
	}
}
