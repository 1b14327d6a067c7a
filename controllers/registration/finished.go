package registration

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// Finished are the objects of which nothing exists at Mandrill any more, although their finalizer may. What was done must be
// known when removing the finalizer is tried again: by then the Secrets may be gone.
type Finished struct {
	mu   sync.Mutex
	uids map[types.UID]bool
}

// Add adds an object.
func (f *Finished) Add(uid types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.uids == nil {
		f.uids = map[types.UID]bool{}
	}
	f.uids[uid] = true
}

// Has reports whether an object is one of them.
func (f *Finished) Has(uid types.UID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.uids[uid]
}

// Forget forgets an object.
func (f *Finished) Forget(uid types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.uids, uid)
}
