package chaos_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
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

const (
	waitingBatches = 60
	// vanished is how many batches may be lost with files: those that wait, the remainder, and the first ones if they are not delivered.
	vanished = waitingBatches + 4
)

// damage is a way to damage the files of a stream.
type damage struct {
	name       string
	stream     string
	apply      func(t *testing.T, dir string)
	maxLost    int    // batches that may be lost at most
	unreported bool   // it need not be counted as damage: nothing is lost, or files are gone without a trace
	shortRun   string // without -long, the case runs only after this end of the receiver; empty: never
}

// overwrite changes a file but keeps its times, as bit rot does.
func overwrite(t *testing.T, path string, change func(data []byte) []byte) {
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

// blockFile returns a message block of a stream. Negative numbers count from the last one.
func blockFile(t *testing.T, dir string, number int) string {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(dir, "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("no blocks in %s", dir)
	}
	slices.SortFunc(blocks, func(a, b string) int { return len(a) - len(b) })
	if number < 0 {
		number += len(blocks)
	}
	return blocks[number]
}

// flipBit changes a bit at a relative position of a block.
func flipBit(number int, part float64) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		overwrite(t, blockFile(t, dir, number), func(data []byte) []byte {
			data[int(float64(len(data))*part)] ^= 1 << rand.IntN(8)
			return data
		})
	}
}

// flipHeader changes a bit of a record's header. The length is at offset 0, the sequence at 4, the length of the subject at 20.
func flipHeader(offset int) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		overwrite(t, blockFile(t, dir, 0), func(data []byte) []byte {
			subject := bytes.Index(data[len(data)/2:], []byte("mandrill.batch.")) + len(data)/2
			data[subject-22+offset] ^= 4
			return data
		})
	}
}

// flipLength changes the length of a message's headers, which no checksum of the server covers.
func flipLength(t *testing.T, dir string) {
	overwrite(t, blockFile(t, dir, 0), func(data []byte) []byte {
		data[bytes.Index(data, []byte("NATS/1.0\r\n"))-4] ^= 4
		return data
	})
}

func truncate(number int, part float64) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		overwrite(t, blockFile(t, dir, number), func(data []byte) []byte { return data[:int(float64(len(data))*part)] })
	}
}

func truncateAll(t *testing.T, dir string) {
	blocks, err := filepath.Glob(filepath.Join(dir, "msgs", "*.blk"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range blocks {
		overwrite(t, path, func([]byte) []byte { return nil })
	}
}

func flipFile(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		overwrite(t, filepath.Join(dir, name), func(data []byte) []byte {
			data[len(data)/2] ^= 1
			return data
		})
	}
}

func emptyFile(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		overwrite(t, filepath.Join(dir, name), func([]byte) []byte { return nil })
	}
}

func removeFile(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// cutAtRecord cuts the first file at the end of a message, where the server finds nothing wrong.
func cutAtRecord(t *testing.T, dir string) {
	overwrite(t, blockFile(t, dir, 0), func(data []byte) []byte {
		at := 0
		for at < len(data)/2 {
			at += int(binary.LittleEndian.Uint32(data[at:]) &^ (1 << 31))
		}
		return data[:at]
	})
}

// removeAbove removes the folder of the stream, or one above it.
func removeAbove(up string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.RemoveAll(filepath.Join(dir, up)); err != nil {
			t.Fatal(err)
		}
	}
}

var damages = []damage{
	{"a bit in the middle of a block", "mandrill-batch", flipBit(0, 0.5), 1, false, "killed"},
	{"a bit at the beginning of a block", "mandrill-batch", flipBit(0, 0.001), 1, false, ""},
	{"a bit in the last block", "mandrill-batch", flipBit(-1, 0.5), 1, false, ""},
	{"the length of a message", "mandrill-batch", flipHeader(0), 1, false, "stopped"},
	{"the high bits of the length of a message", "mandrill-batch", flipHeader(2), 1, false, ""},
	{"the number of a message", "mandrill-batch", flipHeader(4), 1, false, ""},
	{"the length of a message's subject", "mandrill-batch", flipHeader(20), 1, false, ""},
	{"the length of a message's headers", "mandrill-batch", flipLength, 1, false, ""},
	{"the first block cut short", "mandrill-batch", truncate(0, 0.8), waitingBatches / 2, false, ""},
	{"the last block cut short", "mandrill-batch", truncate(-1, 0.5), waitingBatches / 2, false, "killed"},
	{"all messages' files empty", "mandrill-batch", truncateAll, vanished, true, "killed"},
	{"the first messages' file missing", "mandrill-batch", func(t *testing.T, dir string) { removeFile("msgs/"+filepath.Base(blockFile(t, dir, 0)))(t, dir) }, vanished, true, "stopped"},
	{"the first messages' file cut at the end of a message", "mandrill-batch", cutAtRecord, vanished, true, ""},
	{"the folder of the batches missing", "mandrill-batch", removeAbove("."), vanished, true, ""},
	{"the folder of the store missing", "mandrill-batch", removeAbove("../../../.."), vanished, true, "killed"},
	{"index.db changed", "mandrill-batch", flipFile("msgs/index.db"), 0, true, "stopped"},
	{"index.db empty", "mandrill-batch", emptyFile("msgs/index.db"), 0, true, ""},
	{"index.db removed", "mandrill-batch", removeFile("msgs/index.db"), 0, true, ""},
	{"meta.inf changed", "mandrill-batch", flipFile("meta.inf"), 0, false, "stopped"},
	{"meta.inf empty", "mandrill-batch", emptyFile("meta.inf"), 0, false, ""},
	{"meta.inf removed", "mandrill-batch", removeFile("meta.inf"), 0, false, ""},
	{"meta.sum changed", "mandrill-batch", flipFile("meta.sum"), 0, false, ""},
	{"a bit of the remainders", "mandrill-remainder", flipBit(0, 0.5), 1, false, "killed"},
	{"settings of the remainders", "mandrill-remainder", flipFile("meta.inf"), 0, false, ""},
	{"a bit of the finished ids", "mandrill-finished", flipBit(0, 0.5), 0, true, ""},
	{"a bit of the state", "KV_mandrill-state", flipBit(0, 0.5), 0, true, ""},
	{"settings of the state", "KV_mandrill-state", emptyFile("meta.inf"), 0, false, ""},
	{"settings of the large events", "OBJ_mandrill-objects", flipFile("meta.inf"), 0, false, ""},
}

// damageKinds names the kinds of damage in the results, by how many batches may be lost.
var damageKinds = map[int]string{
	0: "indexes, settings and deduplication data damaged", 1: "one bit of the messages flipped", waitingBatches / 2: "message files truncated",
	vanished: "message files emptied, removed or cut between two messages",
}

// Files of the buffer are damaged while the receiver is stopped. It logs and counts the damage, and delivers what is not damaged.
func TestDamagedFilesLoseOnlyWhatIsDamaged(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	cases, maxLost := map[int]int{}, map[int]int{} // by damage.maxLost
	t.Cleanup(func() {
		for _, allowed := range slices.Sorted(maps.Keys(cases)) {
			addResult("%s in %d ways, while the receiver was down | at most %d of %d batches lost and counted as lost, the others delivered in order", damageKinds[allowed], cases[allowed], maxLost[allowed], waitingBatches+7)
		}
	})
	for _, fault := range damages {
		for _, how := range []string{"stopped", "killed"} {
			if !*long && how != fault.shortRun {
				continue
			}
			if how == "killed" && fault.name[:5] == "index" {
				continue // the index is written at a regular stop only
			}
			t.Run(fault.name+", "+how, func(t *testing.T) {
				t.Parallel()
				fault.run(t, how, func(lost int) {
					mu.Lock()
					defer mu.Unlock()
					cases[fault.maxLost]++
					maxLost[fault.maxLost] = max(maxLost[fault.maxLost], lost)
				})
			})
		}
	}
}

func (d damage) run(t *testing.T, how string, record func(lost int)) {
	ledger := newLedger()
	sink := newSinkServer(t, ledger)
	sink.up()
	sink.setBehaviour(1, answerWith(http.StatusInternalServerError, ""))
	r := newReceiver(t, writeRoutes(t, "retry: 100, backoffDelay: PT0.1S", sink.uris(2)...))
	r.startAndWait()
	s := newSender(t, ledger, r)
	s.events, s.padding = 20, incompressible(4<<10)
	s.send(0, 3) // delivered and acknowledged
	r.await("remainders", func() bool { return s.makeRemainder(r) })
	sink.down()
	s.send(0, waitingBatches)
	r.await("a checkpoint", func() bool { return r.checkpointed() > waitingBatches }) // and the remainder
	if how == "killed" {
		r.kill()
	} else {
		r.stop()
	}
	d.apply(t, filepath.Join(r.dir, "nats", "jetstream", "$G", "streams", d.stream))
	sink.setBehaviour(1, nil)
	sink.up()
	r.startAndWait()
	s.send(0, 3)
	r.await("an empty backlog", func() bool { return r.metric("mandrill_receiver_backlog_events") == 0 })
	lost := d.awaitUndamaged(t, ledger)
	if len(lost) > d.maxLost {
		t.Errorf("the batches %v are lost, want at most %d of them", lost, d.maxLost)
	}
	logged, counted := r.logCounts("WARN", "ERROR"), r.metric("mandrill_receiver_buffer_damaged_total")
	if !d.unreported && (counted == 0 || len(logged) == 0) {
		t.Errorf("%v damaged places were counted, and the log has %v", counted, logged)
	}
	if reported := r.metric("mandrill_receiver_buffer_lost_messages"); reported < float64(len(lost)) || len(lost) == 0 && d.maxLost == 0 && reported > 0 {
		t.Errorf("%d batches are lost, the metric says %v", len(lost), reported)
	}
	if len(ledger.outOfOrder) > 0 {
		t.Errorf("out of order: %v", ledger.outOfOrder)
	}
	t.Logf("%d of %d batches lost, %v damaged places counted, log: %v", len(lost), waitingBatches+7, counted, logged)
	record(len(lost))
}

// checkpointed returns how many batches and remainders the checkpoint of the buffer has. It is up to a second old.
func (r *receiver) checkpointed() int {
	var checkpoint struct {
		Streams map[string]struct{ Messages int }
	}
	data, err := os.ReadFile(filepath.Join(r.dir, "checkpoint"))
	if err == nil {
		err = json.Unmarshal(data, &checkpoint)
	}
	if err != nil {
		return 0
	}
	return checkpoint.Streams["batches"].Messages + checkpoint.Streams["remainders"].Messages
}

// makeRemainder sends a batch to the failing sink, once, and reports whether its events were retried.
func (s *sender) makeRemainder(r *receiver) bool {
	if acked, _ := s.ledger.count(); acked <= 3*s.events {
		s.send(1, 1)
	}
	return r.metric("mandrill_receiver_redeliveries_total") > 0
}

// awaitUndamaged waits until no more events arrive, and returns the batches that are missing.
func (d damage) awaitUndamaged(t *testing.T, ledger *ledger) []int {
	t.Helper()
	quiet := time.NewTimer(3 * time.Second)
	limit := time.After(awaitTimeout)
	for {
		ledger.mu.Lock()
		missing, changed := ledger.batchesOf(ledger.missing()), ledger.changed
		ledger.mu.Unlock()
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-changed:
			quiet.Reset(3 * time.Second)
		case <-quiet.C:
			if len(missing) <= d.maxLost {
				return missing
			}
		case <-limit:
			return missing
		}
	}
}
