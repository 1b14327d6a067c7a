package receiver

import "strconv"

// Remember fills a memory of a size with n events. It returns whether one is remembered, and how many are.
func Remember(size, n int) (has func(int) bool, count int) {
	m := newMemory(size)
	key := func(i int) memoryKey { return keyOf(&Route{}, strconv.Itoa(i)) }
	for i := range n {
		m.add(key(i))
	}
	return func(i int) bool { return m.has(key(i)) }, len(m.younger) + len(m.older)
}
