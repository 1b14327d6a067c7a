package quarantine

import (
	"context"
	"runtime/debug"
	"sync"
)

// Storage keeps the slots of a record beyond the end of the process.
type Storage interface {
	// Read returns what was written, by this process or an earlier one.
	Read(ctx context.Context) ([]byte, error)
	// Write replaces a slot. With wait it returns when the next process would read it.
	Write(slot int, data []byte, wait bool)
	Close()
}

// The ends in a row after which a batch is poison.
const (
	InFile = 2
	// InSharedBuffer is more, because the leader may lose its lease in a section and live on, and its successor sees no difference. While
	// the buffer does not answer, sections last for seconds.
	InSharedBuffer = 4
)

// Record says which batches are being processed. It does nothing until it is opened; a nil record never does. It is safe for
// concurrent use.
type Record struct {
	storage    Storage
	ends       int // in a row, after which a batch is poison
	freeMemory func()
	turns      *Turns

	mu      sync.Mutex // guards what follows
	opened  bool
	entries map[Key]*entry
	used    []bool // by slot
}

// entry is a batch with a slot: one that is in a section, or a suspect.
type entry struct {
	slot    int
	ends    int   // in a row, at which it was in a section: from 1 on it is a suspect, from Record.ends on poison, which is not processed
	section state // 0: none
}

// New returns a record in which a batch is poison after a number of ends in a row. All records of a process have the same turns, so that a
// suspect of one is alone among all.
func New(storage Storage, ends int, turns *Turns) *Record {
	return &Record{storage: storage, ends: ends, freeMemory: debug.FreeOSMemory, turns: turns, entries: map[Key]*entry{}}
}

// Found is what an abnormal end has left.
type Found struct {
	Poison   []Key // processed at several ends in a row; they stay so until [Record.Forget]
	Suspects int   // processed at an end; each is processed alone now
}

// Open reads what the process before has left, and begins to record. No section may be under way.
func (r *Record) Open(ctx context.Context) (found Found, err error) {
	if r == nil {
		return found, nil
	}
	data, err := r.storage.Read(ctx)
	if err != nil {
		return found, err
	}
	slots := decode(data)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened, r.entries, r.used = true, map[Key]*entry{}, make([]bool, len(data)/slotSize)
	for slot, was := range slots {
		if _, twice := r.entries[was.key]; twice {
			r.storage.Write(slot, emptySlot, false)
			continue
		}
		known := &entry{slot: slot, ends: was.ends}
		r.entries[was.key], r.used[slot] = known, true
		if was.state != suspected { // it was in a section
			known.ends++
		}
		if known.ends >= r.ends {
			found.Poison = append(found.Poison, was.key)
			continue
		}
		found.Suspects++
		r.storage.Write(slot, encode(was.key, suspected, known.ends), false)
	}
	return found, nil
}

// Begin begins a section of work on a batch that may end the process, and waits for its turn: a suspect has its sections alone.
// The caller ends the section with [Record.End] and must not begin another one before. It must not defer End: a panic would
// clear the record.
func (r *Record) Begin(key Key) {
	if r == nil {
		return
	}
	r.mu.Lock()
	opened, known := r.opened, r.entries[key]
	suspect := known != nil && known.ends > 0
	r.mu.Unlock()
	switch {
	case !opened:
		return
	case suspect:
		r.turns.beginAlone()
		r.freeMemory() // what others have left must not count against it
		r.set(key, alone)
	default:
		r.turns.begin()
		r.set(key, processing)
	}
}

// set gives a batch a slot, and waits until it is written.
func (r *Record) set(key Key, to state) {
	r.mu.Lock()
	known := r.entries[key]
	if known == nil {
		known = &entry{slot: r.freeSlot()}
		r.entries[key], r.used[known.slot] = known, true
	}
	known.section = to
	r.mu.Unlock()
	r.storage.Write(known.slot, encode(key, to, known.ends), true)
}

// freeSlot returns a slot that is not in use. The record is locked.
func (r *Record) freeSlot() int {
	for slot, used := range r.used {
		if !used {
			return slot
		}
	}
	r.used = append(r.used, false)
	return len(r.used) - 1
}

// End ends a section.
func (r *Record) End(key Key) {
	if r == nil {
		return
	}
	r.mu.Lock()
	known := r.entries[key]
	if known == nil || known.section == 0 { // it began before the record was opened
		r.mu.Unlock()
		return
	}
	section := known.section
	known.section = 0
	if section == alone && known.ends > 0 {
		r.mu.Unlock()
		r.storage.Write(known.slot, encode(key, suspected, known.ends), true)
		r.turns.endAlone()
		return
	}
	r.remove(key)
	r.mu.Unlock()
	r.endTurn(section)
}

// Forget clears a batch: it got through a cycle of delivery, or left the buffer.
func (r *Record) Forget(key Key) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.entries[key]; known != nil && known.section == 0 {
		r.remove(key)
	}
}

// remove frees the slot of a batch. The record is locked.
func (r *Record) remove(key Key) {
	slot := r.entries[key].slot
	delete(r.entries, key)
	r.used[slot] = false
	r.storage.Write(slot, emptySlot, false)
}

// Clear clears all suspicions, after an orderly stop. Poison that is still in the buffer stays known.
func (r *Record) Clear() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, known := range r.entries {
		if known.section == 0 && known.ends < r.ends {
			r.remove(key)
		}
	}
}

// Close ends the use of the storage. No section may be under way. One that was never ended, after an error, does not keep the turns that
// other records use, too.
func (r *Record) Close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	for _, known := range r.entries {
		if known.section != 0 {
			r.endTurn(known.section)
			known.section = 0
		}
	}
	r.mu.Unlock()
	r.storage.Close()
}

func (r *Record) endTurn(section state) {
	if section == alone {
		r.turns.endAlone()
	} else {
		r.turns.end()
	}
}
