package natsfiles

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// testStream is a stream with everything that the journal stores: messages with and without headers, deleted ones, some
// of one subject only, and more than one block.
const (
	testStream = "mandrill-batch"
	messages   = 40
	deleted    = 7 // the sequence of the deleted message
)

// testBody is the data of a message, large enough for three blocks together.
func testBody(sequence int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("%07d,", sequence)), 1<<16)
}

// startServer runs the linked server on a directory until the test ends or stop is called.
func startServer(t *testing.T, storeDir string) (js jetstream.JetStream, stop func()) {
	t.Helper()
	running, err := server.NewServer(&server.Options{
		StoreDir: storeDir, JetStream: true, SyncAlways: true, DontListen: true, NoSigs: true, NoLog: true, MaxPayload: 8 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	running.Start()
	if !running.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	conn, err := nats.Connect("", nats.InProcessServer(running))
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		conn.Close()
		running.Shutdown()
		running.WaitForShutdown()
	}
	t.Cleanup(stop)
	js, err = jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js, stop
}

// buildStore writes a store with the linked server and returns its directory.
func buildStore(t *testing.T) (storeDir string) {
	t.Helper()
	storeDir = t.TempDir()
	js, stop := startServer(t, storeDir)
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: testStream, Subjects: []string{"mandrill.batch.>"}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range messages {
		msg := &nats.Msg{Subject: "mandrill.batch.shop/" + strconv.Itoa(i%3), Data: testBody(i + 1)}
		if i%2 == 0 {
			msg.Header = nats.Header{"Nats-Msg-Id": {strconv.Itoa(i)}}
		}
		if _, err := js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.DeleteMsg(t.Context(), deleted); err != nil {
		t.Fatal(err)
	}
	state, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "mandrill-state"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := state.PutString(t.Context(), "leader", "a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := state.Purge(t.Context(), "leader"); err != nil {
		t.Fatal(err)
	}
	stop()
	return storeDir
}

func pathOf(storeDir, stream string) string {
	return filepath.Join(storeDir, "jetstream", "$G", "streams", stream)
}

// TestLayout proves that the layout described in this package is that of the linked server. When it passes with a new
// version, add the version to provenVersions.
func TestLayout(t *testing.T) {
	t.Parallel()
	storeDir := buildStore(t)
	scans, err := scanStreams(storeDir)
	if err != nil || len(scans) != 2 {
		t.Fatalf("found %d streams, error %v, want 2", len(scans), err)
	}
	for _, scan := range scans {
		if scan.meta != metaIntact || scan.damaged != 0 || scan.intact == 0 {
			t.Errorf("%s: meta state %d, %d damaged records, %d intact, want all intact", scan.stream, scan.meta, scan.damaged, scan.intact)
		}
		if _, err := os.Stat(filepath.Join(scan.dir, blocksDir, indexFile)); err != nil {
			t.Errorf("%s has no index after a regular stop: %v", scan.stream, err)
		}
	}
	t.Run("records", func(t *testing.T) { testRecords(t, pathOf(storeDir, testStream)) })
	t.Run("damage", func(t *testing.T) { testServerReadsRepaired(t, storeDir) })
	if !provenVersions[server.VERSION] {
		t.Errorf("the linked server %s is not in provenVersions: if everything else passes, add it", server.VERSION)
	}
}

// testRecords takes the blocks of a stream apart by the documented layout.
func testRecords(t *testing.T, dir string) {
	t.Helper()
	numbers, err := blockNumbers(filepath.Join(dir, blocksDir))
	if err != nil || len(numbers) < 3 || numbers[0] != 1 || numbers[len(numbers)-1] != len(numbers) {
		t.Fatalf("the blocks are %v, error %v, want them numbered from 1", numbers, err)
	}
	found := map[int]int{}
	tombstones, withHeaders := 0, 0
	for _, number := range numbers {
		data, err := os.ReadFile(filepath.Join(dir, blocksDir, strconv.Itoa(number)+blockSuffix))
		if err != nil {
			t.Fatal(err)
		}
		hash := newHash(testStream + "-" + strconv.Itoa(number))
		for at := 0; at < len(data); {
			length := intactLength(hash, data[at:])
			if length == 0 {
				t.Fatalf("block %d has no record at %d", number, at)
			}
			record := data[at : at+length]
			at += length
			sequence := sequenceOf(record)
			if sequence&tombstoneBit != 0 {
				tombstones++
				continue
			}
			subject := record[recordHeader : recordHeader+int(binary.LittleEndian.Uint16(record[20:]))]
			plain := int(sequence &^ erasedBit)
			if sequence&erasedBit == 0 && !strings.HasPrefix(string(subject), "mandrill.batch.shop/") {
				t.Errorf("the subject of %d is %q", plain, subject)
			}
			if binary.LittleEndian.Uint32(record)&headersBit != 0 {
				withHeaders++
			}
			if sequence&erasedBit == 0 && bytes.Contains(record, testBody(plain)) {
				found[plain]++
			}
		}
	}
	if len(found) < messages-1 || withHeaders < messages/2-1 || tombstones != 1 {
		t.Errorf("found %d messages, %d with headers, %d tombstones", len(found), withHeaders, tombstones)
	}
}

// testServerReadsRepaired damages a record in the middle of a block: after the repair the server finds all others.
func testServerReadsRepaired(t *testing.T, storeDir string) {
	t.Helper()
	path := filepath.Join(pathOf(storeDir, testStream), blocksDir, "1"+blockSuffix)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const lost = 3
	data[bytes.Index(data, testBody(lost))+100] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	store := Store{Dir: storeDir, Version: server.VERSION, Quarantine: filepath.Join(t.TempDir(), "damaged"), Logger: slog.New(slog.DiscardHandler)}
	if !provenVersions[server.VERSION] {
		store.Version = slices.Collect(maps.Keys(provenVersions))[0] // to see whether the repair would work
	}
	report, err := store.Repair()
	if err != nil || report.Damaged != 1 || len(report.Skipped) != 0 {
		t.Fatalf("the report is %+v, error %v", report, err)
	}
	js, stop := startServer(t, storeDir)
	defer stop()
	stream, err := js.Stream(t.Context(), testStream)
	if err != nil {
		t.Fatal(err)
	}
	for sequence := 1; sequence <= messages; sequence++ {
		msg, err := stream.GetMsg(t.Context(), uint64(sequence))
		gone := sequence == lost || sequence == deleted
		if gone != (err != nil) || err == nil && !bytes.Equal(msg.Data, testBody(sequence)) {
			t.Errorf("message %d: error %v", sequence, err)
		}
	}
	sum, err := os.ReadFile(filepath.Join(pathOf(storeDir, testStream), metaSumFile))
	meta, metaErr := os.ReadFile(filepath.Join(pathOf(storeDir, testStream), metaFile))
	if err != nil || metaErr != nil || string(sum) != hex.EncodeToString(newHash(testStream)(meta)) {
		t.Errorf("the checksum of the metadata is %q, errors %v, %v", sum, err, metaErr)
	}
}
