package receiver

import (
	"math/bits"
	"sync"
)

// outgrownBuffers has the buffers that bodies have outgrown, for others on their way. Without them a body leaves nearly as much garbage as
// it has bytes. The buffers in which bodies end are not among them: events are parts of those. There is a pool for each power of two.
type outgrownBuffers struct{ pools [bits.UintSize]sync.Pool }

var outgrown outgrownBuffers

// take returns an empty buffer with a capacity.
func (o *outgrownBuffers) take(size int64) []byte {
	if pool := o.pool(int(size)); pool != nil {
		if used, ok := pool.Get().(*[]byte); ok {
			return *used
		}
	}
	return make([]byte, 0, size)
}

// put takes over a buffer that nobody uses.
func (o *outgrownBuffers) put(buffer []byte) {
	if pool := o.pool(cap(buffer)); pool != nil {
		buffer = buffer[:0]
		pool.Put(&buffer)
	}
}

// pool returns the pool for buffers of a size, or nil if they are not kept: small ones cost little, and large ones would stay in memory.
func (o *outgrownBuffers) pool(size int) *sync.Pool {
	if size < 4*firstBuffer || size > 2*largeBuffer || size&(size-1) != 0 {
		return nil
	}
	return &o.pools[bits.TrailingZeros(uint(size))]
}
