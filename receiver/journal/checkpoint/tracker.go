package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/durable"
)

// Tracker keeps the checkpoint of a buffer. It is safe for concurrent use.
type Tracker struct {
	logger *slog.Logger
	now    func() time.Time

	begun, ended atomic.Int64 // removals of batches

	mu      sync.Mutex
	path    string // empty: in memory only
	record  *record
	removed map[string]time.Time // when a removal last began, by stream
	failing bool                 // the file cannot be written
}

// New returns a tracker that has no checkpoint.
func New(logger *slog.Logger, now func() time.Time) *Tracker {
	return &Tracker{logger: logger, now: now, removed: map[string]time.Time{}}
}

// Load reads the checkpoint of an earlier process, unless this one has its own already.
func (t *Tracker) Load(path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.path = path
	if t.record != nil || path == "" {
		return
	}
	read, err := readFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.logger.Warn("Could not read the checkpoint of the buffer, messages that are missing now are not noticed", "error", err.Error())
	}
	t.record = read
}

// finished returns the last sequence of finished batches that the checkpoint has, if there is one.
func (t *Tracker) finished() (seq uint64, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.record == nil {
		return 0, false
	}
	return t.record.Finished, true
}

// misses reports whether batches of an exclusive buffer are gone.
func (t *Tracker) misses(now Sample) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.record == nil {
		return false
	}
	lost, _ := t.record.lost(Batches, now, true)
	return lost > 0
}

func readFile(path string) (*record, error) {
	data, err := os.ReadFile(path) //nolint:gosec // in the user's directory
	if err != nil {
		return nil, err
	}
	read := new(record)
	if err := json.Unmarshal(data, read); err != nil {
		return nil, errors.New("it is damaged")
	}
	if read.Format > format {
		return nil, fmt.Errorf("it has the format %d, this receiver reads %d", read.Format, format)
	}
	return read, nil
}

// Compare finds out how many messages are gone since the last checkpoint, logs it, and writes a checkpoint of what is there. Damaged
// has the messages by stream that were found damaged: it counts where the checkpoint says nothing. It returns the streams that are
// empty and began again, with the sequence at which they ended: their sequences must not be used again, because the order of
// batches and the numbers of dead letters depend on them.
func (t *Tracker) Compare(now Sample, exclusive bool, damaged map[string]int) (restarted map[string]uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.record == nil {
		t.record = &record{}
	}
	lost := maps.Clone(t.shown())
	for _, name := range Streams {
		count, known := t.record.lost(name, now, exclusive)
		if !known {
			count = uint64(max(damaged[name], 0))
		}
		if count == 0 {
			continue
		}
		if lost == nil {
			lost = map[string]uint64{}
		}
		lost[name] += count
		before := t.record.Streams[name]
		t.logger.Error("Messages of the buffer are gone that were stored before", "stream", name, "lost", count,
			"messages", now.Streams[name].Messages, "messagesBefore", before.Messages, "lastSeq", now.Streams[name].LastSeq, "lastSeqBefore", before.LastSeq,
			"remedy", "see Lost messages in docs/buffer.md")
		t.record.Lost, t.record.LostAt = lost, t.now()
	}
	now.Streams, restarted = maps.Clone(now.Streams), map[string]uint64{}
	for name, stream := range now.Streams {
		if before := t.record.Streams[name].LastSeq; exclusive && stream.Messages == 0 && stream.LastSeq < before {
			restarted[name] = before
			now.Streams[name] = Stream{LastSeq: before}
		}
	}
	t.write(now, false, exclusive)
	return restarted
}

// Write writes a checkpoint. Stopped says that nothing changes afterwards. In a shared buffer others change it.
func (t *Tracker) Write(now Sample, stopped, exclusive bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.write(now, stopped, exclusive)
}

func (t *Tracker) write(now Sample, stopped, exclusive bool) {
	next := &record{Format: format, Streams: map[string]Stream{}, Finished: now.Finished, Removing: now.Removing, Stopped: stopped && exclusive && now.Removing == 0}
	for name, stream := range now.Streams {
		stream.Quiet = exclusive && name != Batches && now.Begun.Sub(t.removed[name]) > quietTime
		next.Streams[name] = stream
	}
	if lost := t.shown(); lost != nil {
		next.Lost, next.LostAt = lost, t.record.LostAt
	}
	if t.record != nil && !t.failing && reflect.DeepEqual(next, t.record) {
		return
	}
	t.record = next
	t.save()
}

// save writes the file. If that is not possible it removes the file, which claims what may not hold any more.
func (t *Tracker) save() {
	if t.path == "" {
		return
	}
	data, err := json.Marshal(t.record)
	if err == nil {
		err = durable.WriteFile(t.path, data)
	}
	if err != nil {
		if !t.failing {
			t.logger.Warn("Could not write the checkpoint of the buffer, messages that go missing are not noticed", "error", err.Error())
		}
		_ = durable.RemoveFile(t.path)
	}
	t.failing = err != nil
}

// BeforeRemoval is to be called before a remainder or a dead letter is removed. It writes only if the checkpoint claims that none is.
func (t *Tracker) BeforeRemoval(stream string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removed[stream] = time.Now()
	if t.record == nil || !t.record.Streams[stream].Quiet && !t.record.Stopped {
		return
	}
	next := *t.record
	next.Stopped, next.Streams = false, maps.Clone(next.Streams)
	noisy := next.Streams[stream]
	noisy.Quiet = false
	next.Streams[stream] = noisy
	t.record = &next
	t.save()
}

// RemovingBatch is to be called before a batch is marked as finished and removed, and ended afterwards.
func (t *Tracker) RemovingBatch() (ended func()) {
	t.begun.Add(1)
	return func() { t.ended.Add(1) }
}

// Removing returns a function that returns how many removals of batches may be under way then, or may have been since now.
func (t *Tracker) Removing() func() uint64 {
	ended := t.ended.Load()
	return func() uint64 { return uint64(max(t.begun.Load()-ended, 0)) }
}

// Lost returns how many messages were found to be gone in the last day, by stream.
func (t *Tracker) Lost() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.shown())
}

func (t *Tracker) shown() map[string]uint64 {
	if t.record == nil || len(t.record.Lost) == 0 {
		return nil
	}
	if since := t.now().Sub(t.record.LostAt); since < -shownTime || since > shownTime {
		return nil
	}
	return t.record.Lost
}
