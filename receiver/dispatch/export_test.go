package dispatch

// MemoryReleased reports whether no cycle holds memory.
func (d *Dispatcher) MemoryReleased() bool {
	for _, limit := range []*memoryLimit{d.memory, d.slowMemory, d.smallMemory, d.loadMemory} {
		if !limit.semaphore.TryAcquire(limit.size) {
			return false
		}
		limit.semaphore.Release(limit.size)
	}
	return true
}
