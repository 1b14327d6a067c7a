package quarantine

import "sync"

// Turns lets any number of sections run at once, or one alone. One that waits to be alone goes before those that come later. All records
// of a process share them.
type Turns struct {
	mu      sync.Mutex // guards what follows
	changed *sync.Cond
	running int
	alone   bool // the one that runs is alone
	waiting int  // to be alone
}

// NewTurns returns turns.
func NewTurns() *Turns {
	t := &Turns{}
	t.changed = sync.NewCond(&t.mu)
	return t
}

func (t *Turns) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.alone || t.waiting > 0 {
		t.changed.Wait()
	}
	t.running++
}

func (t *Turns) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running--
	t.changed.Broadcast()
}

func (t *Turns) beginAlone() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting++
	for t.alone || t.running > 0 {
		t.changed.Wait()
	}
	t.waiting--
	t.alone = true
}

func (t *Turns) endAlone() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.alone = false
	t.changed.Broadcast()
}
