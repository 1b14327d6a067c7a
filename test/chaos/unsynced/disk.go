// Package unsynced is a file system for tests that forgets, when its power fails, what was not synced. It is in memory, and
// a process sees it by FUSE.
package unsynced

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Order says when the name of a file is durable, which its data is after fsync, or a write with O_SYNC or O_DSYNC.
type Order string

const (
	// Journal is how ext4 and XFS are with their defaults: names change on disk in the order in which they were changed. To
	// sync a file, or a folder, makes its own changes durable, and with them all that were made before.
	Journal Order = "journal"
	// Strict is what POSIX promises: to sync a file says nothing of its name, for which its folder has to be synced. What
	// was not may change on disk in any order.
	Strict Order = "strict"
)

// Disk keeps what it is told to sync.
type Disk struct {
	order  Order
	random *rand.Rand

	mu    sync.Mutex
	root  *node
	nodes map[uint64]*node // those that the kernel knows
	lastNumber  uint64           // the highest number of a node
	nameChanges   []change         // those of names that need not be on disk, in order
	lists map[uint64][]*entry

	changesLeft   int           // how many changes there may be until the power fails; negative: any number
	failed chan struct{} // closed when it has
	released  chan struct{} // closed when nobody is to wait any more
}

// node is a file or folder.
type node struct {
	number   uint64
	lookups  uint64 // how often the kernel has found it and not forgotten it
	mode     uint32
	modified time.Time
	// Of a file: what a process sees, and how that became of what is on disk.
	data   []byte
	writes []write
	// Of a folder: what a process sees, and what is on disk.
	names, durableNames map[string]*node
}

// write is some bytes at a place, or without bytes the end of the file.
type write struct {
	offset     int
	data   []byte
	overwritten []byte // what it has overwritten or cut off
	fileSize   int    // of the file before
}

// entry is a name in a folder, of nothing if it was removed.
type entry struct {
	folder *node
	name   string
	node   *node
}

// change is of names that change together.
type change []entry

// New returns one that is empty.
func New(order Order, random *rand.Rand) *Disk {
	d := &Disk{order: order, random: random, lastNumber: 1}
	d.root = &node{number: 1, mode: syscall.S_IFDIR | 0o700, modified: time.Now(), names: map[string]*node{}, durableNames: map[string]*node{}}
	d.restart()
	return d
}

func (d *Disk) restart() {
	d.nodes, d.lists, d.nameChanges = map[uint64]*node{1: d.root}, map[uint64][]*entry{}, nil
	d.changesLeft, d.failed, d.released = -1, make(chan struct{}), make(chan struct{})
}

// FailAfter has the power fail after some more changes, at least one; each write, sync and change of a name is one. From
// then on who changes something has to wait.
func (d *Disk) FailAfter(changes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changesLeft = changes
}

// Failed tells when the power has failed.
func (d *Disk) Failed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// Abandon ends the waiting of those who are to be dead by now, with an error.
func (d *Disk) ReleaseWaiting() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changesLeft = 0
	close(d.released)
}

// change begins one, with the lock held, but when there is no power: then it returns false, and only when that is over.
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

// rename changes names: what a process sees, and later what is on disk.
func (d *Disk) changeNames(names ...entry) {
	change(names).apply(func(folder *node) map[string]*node { return folder.names })
	for _, each := range names {
		each.folder.modified = time.Now()
	}
	d.nameChanges = append(d.nameChanges, names)
}

func (c change) apply(names func(folder *node) map[string]*node) {
	for _, each := range c {
		if each.node == nil {
			delete(names(each.folder), each.name)
		} else {
			names(each.folder)[each.name] = each.node
		}
	}
}

func durableNames(folder *node) map[string]*node { return folder.durableNames }

// concerns tells whether to sync a node makes a change durable.
func (d *Disk) isSyncedBy(c change, n *node) bool {
	for _, each := range c {
		if each.folder == n || each.node == n && d.order == Journal {
			return true
		}
	}
	return false
}

// sync makes a file or folder durable.
func (d *Disk) sync(n *node) {
	n.writes = nil
	needed := make([]bool, len(d.nameChanges))
	before := map[entry]bool{} // names whose earlier changes come first
	all := false
	for i := len(d.nameChanges) - 1; i >= 0; i-- {
		needed[i] = all || d.isSyncedBy(d.nameChanges[i], n) || d.nameChanges[i].touches(before)
		all = all || needed[i] && d.order == Journal
		if needed[i] {
			d.nameChanges[i].addNames(before)
		}
	}
	var rest []change
	for i, each := range d.nameChanges {
		if needed[i] {
			each.apply(durableNames)
		} else {
			rest = append(rest, each)
		}
	}
	d.nameChanges = rest
}

// any tells whether one of the names is among others, whatever it is of.
func (c change) touches(names map[entry]bool) bool {
	for _, each := range c {
		if names[entry{each.folder, each.name, nil}] {
			return true
		}
	}
	return false
}

func (c change) addNames(names map[entry]bool) {
	for _, each := range c {
		names[entry{each.folder, each.name, nil}] = true
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

// undo makes what is on disk of what a process sees.
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

// Luck is what becomes of what was not synced. Without any all of it is lost.
type Survival struct {
	Chance float64 // of a change to be on disk all the same
	PieceBytes  int     // so many bytes of a write are there or not
}

// Draw returns one at random.
func (d *Disk) Draw() Survival {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Survival{Chance: []float64{0, 0.1, 0.5, 0.9}[d.random.IntN(4)], PieceBytes: []int{512, 4096}[d.random.IntN(2)]}
}

// Restore has the power come back when nobody uses the disk. What was not synced is as luck has it.
func (d *Disk) Restore(luck Survival) {
	d.mu.Lock()
	defer d.mu.Unlock()
	lost := map[entry]bool{}
	for _, each := range d.nameChanges {
		if len(lost) > 0 && d.order == Journal || each.touches(lost) || d.random.Float64() >= luck.Chance {
			each.addNames(lost)
		} else {
			each.apply(durableNames)
		}
	}
	d.restart()
	d.restore(d.root, luck)
}

// restore makes what a process sees of what is on disk.
func (d *Disk) restore(n *node, luck Survival) {
	n.lookups = 0
	pieces := n.pieces(luck.PieceBytes)
	written := d.survivors(luck, len(pieces))
	n.revertToDisk()
	for i, piece := range pieces {
		if written(i) {
			n.data = piece.apply(n.data)
		}
	}
	n.names = maps.Clone(n.durableNames)
	for _, child := range n.names {
		d.restore(child, luck)
	}
}

// fate tells of each change of a file that was not synced whether it is on disk: all are, or none, or the first ones, or any.
func (d *Disk) survivors(luck Survival, changes int) func(i int) bool {
	any := func(int) bool { return d.random.Float64() < luck.Chance }
	if luck.Chance == 0 || luck.Chance == 1 {
		return any
	}
	first := []int{0, changes, d.random.IntN(changes + 1)}
	if choice := d.random.IntN(4); choice < len(first) {
		return func(i int) bool { return i < first[choice] }
	}
	return any
}

// pieces are a file's writes since it was synced, in pieces of a size.
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

// Files returns what a process sees: data by path, and of folders, whose path ends in a slash, nothing.
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
