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
	last  uint64           // the highest number of a node
	log   []change         // those of names that need not be on disk, in order
	lists map[uint64][]*entry

	left   int           // how many changes there may be until the power fails; negative: any number
	failed chan struct{} // closed when it has
	ended  chan struct{} // closed when nobody is to wait any more
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
	at     int
	data   []byte
	before []byte // what it has overwritten or cut off
	size   int    // of the file before
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
	d := &Disk{order: order, random: random, last: 1}
	d.root = &node{number: 1, mode: syscall.S_IFDIR | 0o700, modified: time.Now(), names: map[string]*node{}, durableNames: map[string]*node{}}
	d.restart()
	return d
}

func (d *Disk) restart() {
	d.nodes, d.lists, d.log = map[uint64]*node{1: d.root}, map[uint64][]*entry{}, nil
	d.left, d.failed, d.ended = -1, make(chan struct{}), make(chan struct{})
}

// FailAfter has the power fail after some more changes, at least one; each write, sync and change of a name is one. From
// then on who changes something has to wait.
func (d *Disk) FailAfter(changes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = changes
}

// Failed tells when the power has failed.
func (d *Disk) Failed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// Abandon ends the waiting of those who are to be dead by now, with an error.
func (d *Disk) Abandon() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = 0
	close(d.ended)
}

// change begins one, with the lock held, but when there is no power: then it returns false, and only when that is over.
func (d *Disk) change() bool {
	d.mu.Lock()
	if d.left == 0 {
		ended := d.ended
		d.mu.Unlock()
		<-ended
		return false
	}
	if d.left--; d.left == 0 {
		close(d.failed)
	}
	d.left = max(d.left, -1)
	return true
}

// rename changes names: what a process sees, and later what is on disk.
func (d *Disk) rename(names ...entry) {
	change(names).apply(func(folder *node) map[string]*node { return folder.names })
	for _, each := range names {
		each.folder.modified = time.Now()
	}
	d.log = append(d.log, names)
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

func onDisk(folder *node) map[string]*node { return folder.durableNames }

// concerns tells whether to sync a node makes a change durable.
func (d *Disk) concerns(c change, n *node) bool {
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
	needed := make([]bool, len(d.log))
	before := map[entry]bool{} // names whose earlier changes come first
	all := false
	for i := len(d.log) - 1; i >= 0; i-- {
		needed[i] = all || d.concerns(d.log[i], n) || d.log[i].any(before)
		all = all || needed[i] && d.order == Journal
		if needed[i] {
			d.log[i].mark(before)
		}
	}
	var rest []change
	for i, each := range d.log {
		if needed[i] {
			each.apply(onDisk)
		} else {
			rest = append(rest, each)
		}
	}
	d.log = rest
}

// any tells whether one of the names is among others, whatever it is of.
func (c change) any(names map[entry]bool) bool {
	for _, each := range c {
		if names[entry{each.folder, each.name, nil}] {
			return true
		}
	}
	return false
}

func (c change) mark(names map[entry]bool) {
	for _, each := range c {
		names[entry{each.folder, each.name, nil}] = true
	}
}

func (n *node) write(w write) {
	w.size = len(n.data)
	end := w.size
	if w.data != nil {
		end = min(w.at+len(w.data), w.size)
	}
	w.before = slices.Clone(n.data[min(w.at, end):end])
	n.data = w.apply(n.data)
	n.writes = append(n.writes, w)
	n.modified = time.Now()
}

// undo makes what is on disk of what a process sees.
func (n *node) undo() {
	for _, w := range slices.Backward(n.writes) {
		n.data = write{at: w.size}.apply(n.data)
		copy(n.data[min(w.at, w.size):], w.before)
	}
	n.writes = nil
}

func (w write) apply(data []byte) []byte {
	if w.data == nil {
		return append(data[:min(w.at, len(data))], make([]byte, max(w.at-len(data), 0))...)
	}
	if missing := w.at + len(w.data) - len(data); missing > 0 {
		data = append(data, make([]byte, missing)...)
	}
	copy(data[w.at:], w.data)
	return data
}

// Luck is what becomes of what was not synced. Without any all of it is lost.
type Luck struct {
	Chance float64 // of a change to be on disk all the same
	Piece  int     // so many bytes of a write are there or not
}

// Draw returns one at random.
func (d *Disk) Draw() Luck {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Luck{Chance: []float64{0, 0.1, 0.5, 0.9}[d.random.IntN(4)], Piece: []int{512, 4096}[d.random.IntN(2)]}
}

// Restore has the power come back when nobody uses the disk. What was not synced is as luck has it.
func (d *Disk) Restore(luck Luck) {
	d.mu.Lock()
	defer d.mu.Unlock()
	lost := map[entry]bool{}
	for _, each := range d.log {
		if len(lost) > 0 && d.order == Journal || each.any(lost) || d.random.Float64() >= luck.Chance {
			each.mark(lost)
		} else {
			each.apply(onDisk)
		}
	}
	d.restart()
	d.restore(d.root, luck)
}

// restore makes what a process sees of what is on disk.
func (d *Disk) restore(n *node, luck Luck) {
	n.lookups = 0
	pieces := n.pieces(luck.Piece)
	written := d.fate(luck, len(pieces))
	n.undo()
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
func (d *Disk) fate(luck Luck, changes int) func(i int) bool {
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
			length := min(size-w.at%size, len(w.data))
			pieces = append(pieces, write{at: w.at, data: w.data[:length]})
			w = write{at: w.at + length, data: w.data[length:]}
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
