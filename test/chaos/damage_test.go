package chaos_test

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

const stillBatches = 60

// damage does something to the files of a stream, which are in a folder.
type damage struct {
	name   string
	stream string
	do     func(t *testing.T, folder string)
	lost   int    // how many batches may be lost at most
	silent bool   // nothing is lost, so nothing need be said
	quick  string // how the receiver ends before it, in make test; empty: not there
}

// change overwrites a file, but for its times: what rots does so unnoticed.
func change(t *testing.T, path string, change func(data []byte) []byte) {
	t.Helper()
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(data), 0o600)
	}
	if err == nil {
		err = os.Chtimes(path, before.ModTime(), before.ModTime())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// block is a file of a stream with messages: the first, or from behind with negative numbers.
func block(t *testing.T, folder string, number int) string {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(folder, "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("no blocks in %s", folder)
	}
	slices.SortFunc(blocks, func(a, b string) int { return len(a) - len(b) })
	if number < 0 {
		number += len(blocks)
	}
	return blocks[number]
}

// flip changes a bit at a part of a block.
func flip(number int, part float64) func(*testing.T, string) {
	return func(t *testing.T, folder string) {
		change(t, block(t, folder, number), func(data []byte) []byte {
			data[int(float64(len(data))*part)] ^= 1 << rand.IntN(8)
			return data
		})
	}
}

// flipHeader changes a bit of a record's header: at 0 is its length, at 20 that of its subject, and at 4 its number.
func flipHeader(offset int) func(*testing.T, string) {
	return func(t *testing.T, folder string) {
		change(t, block(t, folder, 0), func(data []byte) []byte {
			subject := bytes.Index(data[len(data)/2:], []byte("mandrill.batch.")) + len(data)/2
			data[subject-22+offset] ^= 4
			return data
		})
	}
}

// flipLength changes the length of a message's headers, which the server has no checksum of.
func flipLength(t *testing.T, folder string) {
	change(t, block(t, folder, 0), func(data []byte) []byte {
		data[bytes.Index(data, []byte("NATS/1.0\r\n"))-4] ^= 4
		return data
	})
}

func truncate(number int, part float64) func(*testing.T, string) {
	return func(t *testing.T, folder string) {
		change(t, block(t, folder, number), func(data []byte) []byte { return data[:int(float64(len(data))*part)] })
	}
}

func flipFile(name string) func(*testing.T, string) {
	return func(t *testing.T, folder string) {
		change(t, filepath.Join(folder, name), func(data []byte) []byte {
			data[len(data)/2] ^= 1
			return data
		})
	}
}

func emptyFile(name string) func(*testing.T, string) {
	return func(t *testing.T, folder string) {
		change(t, filepath.Join(folder, name), func([]byte) []byte { return nil })
	}
}

func removeFile(name string) func(*testing.T, string) {
	return func(t *testing.T, folder string) {
		if err := os.Remove(filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
}

var damages = []damage{
	{"a bit in the middle of a block", "mandrill-batch", flip(0, 0.5), 1, false, "killed"},
	{"a bit at the begin of a block", "mandrill-batch", flip(0, 0.001), 1, false, ""},
	{"a bit in the last block", "mandrill-batch", flip(-1, 0.5), 1, false, ""},
	{"the length of a message", "mandrill-batch", flipHeader(0), 1, false, "stopped"},
	{"the high bits of the length of a message", "mandrill-batch", flipHeader(2), 1, false, ""},
	{"the number of a message", "mandrill-batch", flipHeader(4), 1, false, ""},
	{"the length of a message's subject", "mandrill-batch", flipHeader(20), 1, false, ""},
	{"the length of a message's headers", "mandrill-batch", flipLength, 1, false, ""},
	{"the first block cut short", "mandrill-batch", truncate(0, 0.8), stillBatches / 2, false, ""},
	{"the last block cut short", "mandrill-batch", truncate(-1, 0.5), stillBatches / 2, false, "killed"},
	{"index.db changed", "mandrill-batch", flipFile("msgs/index.db"), 0, true, "stopped"},
	{"index.db empty", "mandrill-batch", emptyFile("msgs/index.db"), 0, true, ""},
	{"index.db removed", "mandrill-batch", removeFile("msgs/index.db"), 0, true, ""},
	{"meta.inf changed", "mandrill-batch", flipFile("meta.inf"), 0, false, "stopped"},
	{"meta.inf empty", "mandrill-batch", emptyFile("meta.inf"), 0, false, ""},
	{"meta.inf removed", "mandrill-batch", removeFile("meta.inf"), 0, false, ""},
	{"meta.sum changed", "mandrill-batch", flipFile("meta.sum"), 0, false, ""},
	{"a bit of the remainders", "mandrill-remainder", flip(0, 0.5), 1, false, "killed"},
	{"settings of the remainders", "mandrill-remainder", flipFile("meta.inf"), 0, false, ""},
	{"a bit of what was finished", "mandrill-finished", flip(0, 0.5), 0, true, ""},
	{"a bit of the state", "KV_mandrill-state", flip(0, 0.5), 0, true, ""},
	{"settings of the state", "KV_mandrill-state", emptyFile("meta.inf"), 0, false, ""},
	{"settings of the large events", "OBJ_mandrill-objects", flipFile("meta.inf"), 0, false, ""},
}

// damageNames are by how many batches may be lost.
var damageNames = map[int]string{
	0: "indexes, settings, and what is only for comparison damaged", 1: "one bit of the messages changed", stillBatches / 2: "files with messages cut to half or less than that",
}

// When files of the buffer are damaged while the receiver does not run it says so, and delivers what is not damaged.
func TestDamage(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	cases, most := map[int]int{}, map[int]int{} // by how much may be lost
	t.Cleanup(func() {
		for _, may := range slices.Sorted(maps.Keys(cases)) {
			result("%s, in %d ways, then started | at most %d of %d batches lost, the others delivered, in order", damageNames[may], cases[may], most[may], stillBatches+7)
		}
	})
	for _, fault := range damages {
		for _, how := range []string{"stopped", "killed"} {
			if !*long && how != fault.quick {
				continue
			}
			if how == "killed" && fault.name[:5] == "index" {
				continue // there is none yet
			}
			t.Run(fault.name+", "+how, func(t *testing.T) {
				t.Parallel()
				fault.test(t, how, func(lost int) {
					mu.Lock()
					defer mu.Unlock()
					cases[fault.lost]++
					most[fault.lost] = max(most[fault.lost], lost)
				})
			})
		}
	}
}

func (d damage) test(t *testing.T, how string, seen func(lost int)) {
	book := newLedger()
	sink := newConsumer(t, book)
	sink.up()
	sink.behave(1, answering(http.StatusInternalServerError, ""))
	r := newReceiver(t, writeRoutes(t, "retry: 100, backoffDelay: PT0.1S", sink.uris(2)...))
	r.started()
	s := newSender(book, r)
	s.events, s.padding = 20, noise(4<<10)
	s.send(t.Context(), 0, 3) // some are finished
	r.await("remainders", func() bool { return s.remainder(t, r) })
	sink.down()
	s.send(t.Context(), 0, stillBatches)
	if how == "killed" {
		r.kill()
	} else {
		r.stop()
	}
	d.do(t, filepath.Join(r.dir, "nats", "jetstream", "$G", "streams", d.stream))
	sink.behave(1, nil)
	sink.up()
	r.started()
	s.send(t.Context(), 0, 3)
	lost := d.settle(t, book)
	if len(lost) > d.lost {
		t.Errorf("the batches %v are lost, want at most %d", lost, d.lost)
	}
	said, counted := r.said("WARN", "ERROR"), r.metric("mandrill_receiver_buffer_damaged_total")
	if !d.silent && (counted == 0 || len(said) == 0) {
		t.Errorf("%v places were counted and %v was said", counted, said)
	}
	if len(book.disordered) > 0 {
		t.Errorf("out of order: %v", book.disordered)
	}
	t.Logf("%d of %d batches lost, %v places counted, said %v", len(lost), stillBatches+7, counted, said)
	seen(len(lost))
}

// remainder has a batch of which something was delivered and something was not.
func (s *sender) remainder(t *testing.T, r *receiver) bool {
	if acked, _ := s.book.count(); acked <= 3*s.events {
		s.send(t.Context(), 1, 1)
	}
	return r.metric("mandrill_receiver_redeliveries_total") > 0
}

// settle waits until what is not damaged has arrived, which is when nothing arrives any more, and returns what was lost.
func (d damage) settle(t *testing.T, book *ledger) []int {
	t.Helper()
	quiet := time.NewTimer(3 * time.Second)
	limit := time.After(patience)
	for {
		book.mu.Lock()
		missing, changed := book.batchesOf(book.missing()), book.changed
		book.mu.Unlock()
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-changed:
			quiet.Reset(3 * time.Second)
		case <-quiet.C:
			if len(missing) <= d.lost {
				return missing
			}
		case <-limit:
			return missing
		}
	}
}
