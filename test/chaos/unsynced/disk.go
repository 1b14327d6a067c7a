// Package unsynced is a FUSE file system in memory, for tests. When its power fails it forgets what was not synced.
package unsynced

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Order defines when the name of a file is durable. Its data are durable after fsync, or after a write with O_SYNC or O_DSYNC.
type Order string

const (
	// Journal is the order of ext4 and XFS with their defaults: names change on disk in the order in which they were changed.
	// Syncing a file or directory makes its changes durable, and all earlier ones.
	Journal Order = "journal"
	// Strict is what POSIX promises: syncing a file does not make its name durable, only syncing its directory does. Other
	// changes of names reach the disk in any order.
	Strict Order = "strict"
)

// Disk is the file system. Only what was synced survives a loss of power.
type Disk struct {
	order  Order
	random *rand.Rand

	mu          sync.Mutex
	root        *node
	nodes       map[uint64]*node // that the kernel knows
	lastNumber  uint64           // the highest node number
	nameChanges []change         // changes of names that are not synced yet, in order
	lists       map[uint64][]*nameEntry

	changesLeft int           // changes until the power fails; negative: it does not
	failed      chan struct{} // closed when the power has failed
	released    chan struct{} // closed when blocked changes return an error
}

// node is a file or directory.
type node struct {
	number   uint64
	lookups  uint64 // lookups by the kernel that it has not forgotten
	mode     uint32
	modified time.Time
	// Of a file: what processes see, and the writes that are not synced.
	data   []byte
	writes []write
	// Of a directory: what processes see, and what is on disk.
	names, durableNames map[string]*node
}

// write writes data at an offset. Without data it truncates or extends the file to the offset.
type write struct {
	offset      int
	data        []byte
	overwritten []byte // the bytes that it replaced or cut off
	fileSize    int    // before the write
}

// nameEntry is a name in a directory; node is nil if the name was removed.
type nameEntry struct {
	dir  *node
	name string
	node *node
}

// change is a set of names that change atomically.
type change []nameEntry

// New returns an empty disk.
func New(order Order, random *rand.Rand) *Disk {
	d := &Disk{order: order, random: random, lastNumber: 1}
	d.root = &node{number: 1, mode: syscall.S_IFDIR | 0o700, modified: time.Now(), names: map[string]*node{}, durableNames: map[string]*node{}}
	d.restart()
	return d
}

func (d *Disk) restart() {
	d.nodes, d.lists, d.nameChanges = map[uint64]*node{1: d.root}, map[uint64][]*nameEntry{}, nil
	d.changesLeft, d.failed, d.released = -1, make(chan struct{}), make(chan struct{})
}

// FailAfter makes the power fail after a number of changes, at least one. Each write, sync and change of a name counts. Later
// changes block.
func (d *Disk) FailAfter(changes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changesLeft = changes
}

// Failed returns a channel that is closed when the power fails.
func (d *Disk) Failed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// ReleaseWaiting makes blocked changes return an error. Call it when the processes that made them were killed.
func (d *Disk) ReleaseWaiting() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changesLeft = 0
	close(d.released)
}

// beginChange takes the lock for a change. Without power it blocks until ReleaseWaiting, and returns false without the lock.
func (d *Disk) beginChange() bool {
	d.mu.Lock()
	if d.changesLeft == 0 {
		ended := d.released
		d.mu.Unlock()
		<-ended
		return false
	}
	if d.changesLeft--; d.changesLeft == 0 {
		close(d.failed)
	}
	d.changesLeft = max(d.changesLeft, -1)
	return true
}

// changeNames changes names for processes at once, and on disk when they are synced.
func (d *Disk) changeNames(names ...nameEntry) {
	change(names).apply(func(dir *node) map[string]*node { return dir.names })
	for _, entry := range names {
		entry.dir.modified = time.Now()
	}
	d.nameChanges = append(d.nameChanges, names)
}

func (c change) apply(names func(dir *node) map[string]*node) {
	for _, entry := range c {
		if entry.node == nil {
			delete(names(entry.dir), entry.name)
		} else {
			names(entry.dir)[entry.name] = entry.node
		}
	}
}

func durableNames(dir *node) map[string]*node { return dir.durableNames }

// isSyncedBy reports whether syncing a node makes a change durable.
func (d *Disk) isSyncedBy(c change, n *node) bool {
	for _, entry := range c {
		if entry.dir == n || entry.node == n && d.order == Journal {
			return true
		}
	}
	return false
}

// sync makes a file or directory durable.
func (d *Disk) sync(n *node) {
	n.writes = nil
	syncNow := make([]bool, len(d.nameChanges))
	later := map[nameEntry]bool{} // names changed by what is synced now: their earlier changes must be synced too
	all := false
	for i := len(d.nameChanges) - 1; i >= 0; i-- {
		syncNow[i] = all || d.isSyncedBy(d.nameChanges[i], n) || d.nameChanges[i].touches(later)
		all = all || syncNow[i] && d.order == Journal
		if syncNow[i] {
			d.nameChanges[i].addNames(later)
		}
	}
	var remaining []change
	for i, nameChange := range d.nameChanges {
		if syncNow[i] {
			nameChange.apply(durableNames)
		} else {
			remaining = append(remaining, nameChange)
		}
	}
	d.nameChanges = remaining
}

// touches reports whether the change is of one of the names.
func (c change) touches(names map[nameEntry]bool) bool {
	for _, entry := range c {
		if names[nameEntry{entry.dir, entry.name, nil}] {
			return true
		}
	}
	return false
}

func (c change) addNames(names map[nameEntry]bool) {
	for _, entry := range c {
		names[nameEntry{entry.dir, entry.name, nil}] = true
	}
}

func (n *node) write(w write) {
	w.fileSize = len(n.data)
	end := w.fileSize
	if w.data != nil {
		end = min(w.offset+len(w.data), w.fileSize)
	}
	w.overwritten = slices.Clone(n.data[min(w.offset, end):end])
	n.data = w.apply(n.data)
	n.writes = append(n.writes, w)
	n.modified = time.Now()
}

// revertToDisk undoes the writes that are not synced.
func (n *node) revertToDisk() {
	for _, w := range slices.Backward(n.writes) {
		n.data = write{offset: w.fileSize}.apply(n.data)
		copy(n.data[min(w.offset, w.fileSize):], w.overwritten)
	}
	n.writes = nil
}

func (w write) apply(data []byte) []byte {
	if w.data == nil {
		return append(data[:min(w.offset, len(data))], make([]byte, max(w.offset-len(data), 0))...)
	}
	if missing := w.offset + len(w.data) - len(data); missing > 0 {
		data = append(data, make([]byte, missing)...)
	}
	copy(data[w.offset:], w.data)
	return data
}

// Survival is what becomes of unsynced changes when the power fails. With a chance of 0 all are lost.
type Survival struct {
	Chance     float64 // that an unsynced change is on disk
	PieceBytes int     // a write survives in pieces of this size
}

// Draw returns a random Survival.
func (d *Disk) Draw() Survival {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Survival{Chance: []float64{0, 0.1, 0.5, 0.9}[d.random.IntN(4)], PieceBytes: []int{512, 4096}[d.random.IntN(2)]}
}

// Restore brings the power back. Nobody may use the disk meanwhile.
func (d *Disk) Restore(survival Survival) {
	d.mu.Lock()
	defer d.mu.Unlock()
	lostNames := map[nameEntry]bool{}
	for _, nameChange := range d.nameChanges {
		if len(lostNames) > 0 && d.order == Journal || nameChange.touches(lostNames) || d.random.Float64() >= survival.Chance {
			nameChange.addNames(lostNames)
		} else {
			nameChange.apply(durableNames)
		}
	}
	d.restart()
	d.restore(d.root, survival)
}

// restore makes processes see what is on disk, with the unsynced writes that survive.
func (d *Disk) restore(n *node, survival Survival) {
	n.lookups = 0
	pieces := n.pieces(survival.PieceBytes)
	written := d.survivors(survival, len(pieces))
	n.revertToDisk()
	for i, piece := range pieces {
		if written(i) {
			n.data = piece.apply(n.data)
		}
	}
	n.names = maps.Clone(n.durableNames)
	for _, child := range n.names {
		d.restore(child, survival)
	}
}

// survivors returns which unsynced writes of a file survive: none, all, the first ones, or any.
func (d *Disk) survivors(survival Survival, changes int) func(i int) bool {
	any := func(int) bool { return d.random.Float64() < survival.Chance }
	if survival.Chance == 0 || survival.Chance == 1 {
		return any
	}
	first := []int{0, changes, d.random.IntN(changes + 1)}
	if choice := d.random.IntN(4); choice < len(first) {
		return func(i int) bool { return i < first[choice] }
	}
	return any
}

// pieces returns a file's unsynced writes, divided at multiples of size.
func (n *node) pieces(size int) (pieces []write) {
	for _, w := range n.writes {
		if w.data == nil {
			pieces = append(pieces, w)
		}
		for len(w.data) > 0 {
			length := min(size-w.offset%size, len(w.data))
			pieces = append(pieces, write{offset: w.offset, data: w.data[:length]})
			w = write{offset: w.offset + length, data: w.data[length:]}
		}
	}
	return pieces
}

// Files returns what processes see: the data by path. Paths of directories end in a slash and have no data.
func (d *Disk) Files() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	files := map[string]string{}
	d.root.collect("", files)
	return files
}

func (n *node) collect(path string, files map[string]string) {
	for name, child := range n.names {
		if child.names == nil {
			files[path+name] = string(child.data)
		} else {
			files[path+name+"/"] = ""
			child.collect(path+name+"/", files)
		}
	}
}
