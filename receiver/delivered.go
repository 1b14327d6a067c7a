package receiver

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	// deliveredAge is how long a delivered event is remembered at least, unless there are too many: Mandrill sends a batch
	// again up to 20 times, about 25 minutes apart.
	deliveredAge = 9 * time.Hour
	// deliveredCacheSize is how many events are remembered at least, and half of how many at most. They take some 20 MB.
	// While a batch fails Mandrill sends nothing else to its URL, so the cache must outlast the traffic of the other routes.
	deliveredCacheSize = 500_000
)

// deliveredCache remembers which events were delivered in Direct mode, so that only the others are sent when their batch
// comes again. It has two generations: when the current one is full or old, it becomes the previous one.
type deliveredCache struct {
	size int

	mu                sync.Mutex // guards what follows
	current, previous map[deliveredKey]struct{}
	started           time.Time
}

// deliveredKey is a hash of an event's webhook and id. Its halves have different seeds, which only this process knows: nobody can make two
// events with one key, and 128 bits are enough that none have one by chance.
type deliveredKey [2]uint64

var deliveredSeeds = [len(deliveredKey{})]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func newDeliveredCache(size int) *deliveredCache {
	return &deliveredCache{size: size, current: map[deliveredKey]struct{}{}, started: time.Now()}
}

// deliveredKeyOf is the same for all URLs of a webhook: a batch that was first sent to an earlier URL may come again at the
// present one.
func deliveredKeyOf(webhook, id string) deliveredKey {
	var buffer [256]byte // on the stack, unless names are long
	text := append(append(append(buffer[:0], webhook...), 0), id...)
	return deliveredKey{maphash.Bytes(deliveredSeeds[0], text), maphash.Bytes(deliveredSeeds[1], text)}
}

func (c *deliveredCache) has(key deliveredKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rotate()
	if _, ok := c.current[key]; ok {
		return true
	}
	_, ok := c.previous[key]
	return ok
}

func (c *deliveredCache) add(key deliveredKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rotate()
	c.current[key] = struct{}{}
}

// rotate starts a new generation when that is due.
func (c *deliveredCache) rotate() {
	age := time.Since(c.started)
	if age < deliveredAge && len(c.current) < c.size {
		return
	}
	c.previous, c.current, c.started = c.current, map[deliveredKey]struct{}{}, time.Now()
	if age >= 2*deliveredAge {
		c.previous = nil
	}
}
