package natsfiles

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	knownVersion = "2.15.2"
	recordSize   = 64
)

// testRecord is an intact record of recordSize bytes.
func testRecord(hash hashFunc, sequence int) []byte {
	record := erasedRecord(hash, recordSize)
	binary.LittleEndian.PutUint64(record[4:], uint64(sequence))
	copy(record[recordSize-8:], hash(record[4:20], record[22:recordSize-8]))
	return record
}

// fakeStore is a store whose files were not written by a server.
type fakeStore struct {
	t *testing.T
	Store
	log bytes.Buffer
}

func newFakeStore(t *testing.T) *fakeStore {
	t.Helper()
	dir := t.TempDir()
	s := &fakeStore{t: t}
	s.Store = Store{
		Dir: filepath.Join(dir, "nats"), Quarantine: filepath.Join(dir, "damaged"), Version: knownVersion,
		Logger: slog.New(slog.NewTextHandler(&s.log, nil)),
	}
	return s
}

// add adds a stream with blocks of so many records, an index, and metadata.
func (s *fakeStore) add(stream string, records ...int) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Join(pathOf(s.Dir, stream), blocksDir), 0o700); err != nil {
		s.t.Fatal(err)
	}
	sequence := 0
	for i, count := range records {
		hash := newHash(stream + "-" + strconv.Itoa(i+1))
		var block []byte
		for range count {
			sequence++
			block = append(block, testRecord(hash, sequence)...)
		}
		s.write(stream, filepath.Join(blocksDir, strconv.Itoa(i+1)+blockSuffix), block)
	}
	meta := []byte(`{"name":"` + stream + `"}`)
	s.write(stream, metaFile, meta)
	s.write(stream, metaSumFile, []byte(hex.EncodeToString(newHash(stream)(meta))))
	s.write(stream, filepath.Join(blocksDir, indexFile), []byte("index"))
}

func (s *fakeStore) write(stream, name string, data []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(pathOf(s.Dir, stream), name), data, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// change changes a block.
func (s *fakeStore) change(stream string, block int, change func(data []byte) []byte) {
	s.t.Helper()
	name := filepath.Join(blocksDir, strconv.Itoa(block)+blockSuffix)
	data, err := os.ReadFile(filepath.Join(pathOf(s.Dir, stream), name))
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(stream, name, change(data))
}

// flip changes a bit in every record from one on, in steps.
func flip(from, step int) func([]byte) []byte {
	return func(data []byte) []byte {
		for at := from * recordSize; at < len(data); at += step * recordSize {
			data[at+30] ^= 1
		}
		return data
	}
}

// files returns the contents and times of all files of a store, the quarantine included.
func (s *fakeStore) files() map[string]string {
	s.t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(filepath.Dir(s.Dir), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		files[path] = info.ModTime().String()
		if !entry.IsDir() {
			data, err := os.ReadFile(path)
			files[path] += string(data)
			return err
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return files
}

// What may be good data of another layout stays as it is, to the byte; what is damaged is repaired.
func TestGuard(t *testing.T) {
	t.Parallel()
	skipped := func(reason Reason, count int) map[Reason]int { return map[Reason]int{reason: count} }
	lost := func(stream string, count int) map[string]int { return map[string]int{stream: count} }
	for name, test := range map[string]struct {
		change    func(*fakeStore)
		want      Report
		untouched bool
	}{
		"nothing is damaged": {func(*fakeStore) {}, Report{}, true},
		"an unknown version, one record damaged": {func(s *fakeStore) {
			s.Version = "2.99.0"
			s.change("a", 1, flip(5, 1000))
			s.write("b", metaFile, nil)
		}, Report{Skipped: skipped(UnknownVersion, 1)}, true},
		"another hash everywhere": {func(s *fakeStore) {
			for block := range 3 {
				s.change("a", block+1, flip(0, 1))
			}
			s.change("b", 1, flip(0, 1))
		}, Report{Skipped: skipped(TooMuchDamage, 2)}, true},
		"another layout of one record in five": {func(s *fakeStore) {
			s.change("a", 2, flip(0, 5))
		}, Report{Skipped: skipped(TooMuchDamage, 1)}, true},
		"another layout of a few records in each block": {func(s *fakeStore) {
			for block := range 3 {
				s.change("c", block+1, flip(0, 1))
			}
		}, Report{Skipped: skipped(TooMuchDamage, 1)}, true},
		"another checksum of all metadata": {func(s *fakeStore) {
			for _, stream := range []string{"a", "b", "c"} {
				s.write(stream, metaSumFile, []byte("0123456789abcdef"))
			}
		}, Report{Skipped: skipped(TooMuchDamage, 3)}, true},
		"one record":                       {func(s *fakeStore) { s.change("a", 1, flip(5, 1000)) }, Report{Damaged: 1, Lost: lost("a", 1)}, false},
		"one record in ten":                {func(s *fakeStore) { s.change("a", 1, flip(0, 10)) }, Report{Damaged: 10, Lost: lost("a", 10)}, false},
		"four records of a small block":    {func(s *fakeStore) { s.change("b", 1, flip(0, 2)) }, Report{Damaged: 4, Lost: lost("b", 4)}, false},
		"all of a block of two":            {func(s *fakeStore) { s.change("c", 1, flip(0, 1)) }, Report{Damaged: 1, Lost: lost("c", 2)}, false},
		"a hole of half a block":           {func(s *fakeStore) { s.change("a", 1, func(data []byte) []byte { clear(data[1000:4000]); return data }) }, Report{Damaged: 1, Lost: lost("a", 1)}, false},
		"a block of zeros":                 {func(s *fakeStore) { s.change("a", 2, func(data []byte) []byte { clear(data); return data }) }, Report{Damaged: 1, Lost: lost("a", 1)}, false},
		"metadata of one":                  {func(s *fakeStore) { s.write("a", metaFile, nil) }, Report{Damaged: 1}, false},
		"another layout and damage":        {func(s *fakeStore) { s.change("a", 2, flip(0, 5)); s.change("b", 1, flip(0, 1000)) }, Report{Damaged: 1, Skipped: skipped(TooMuchDamage, 1), Lost: lost("b", 1)}, false},
		"the end of the stream incomplete": {func(s *fakeStore) { s.change("a", 3, func(data []byte) []byte { return data[:len(data)-9] }) }, Report{Damaged: 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFakeStore(t)
			s.add("a", 100, 100, 100)
			s.add("b", 7)
			s.add("c", 2, 2, 2)
			test.change(s)
			before := s.files()
			got, err := s.Repair()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, s.files()); test.untouched != (diff == "") {
				t.Errorf("the files are untouched: %t, want %t", diff == "", test.untouched)
			}
			if (len(test.want.Skipped) > 0) != strings.Contains(s.log.String(), "remedy=") {
				t.Errorf("a remedy for what was skipped is missing or superfluous:\n%s", s.log.String())
			}
			if again, err := s.Repair(); err != nil || again.Damaged > 0 && name != "the end of the stream incomplete" {
				t.Errorf("after the repair the report is %+v, error %v", again, err)
			}
		})
	}
}

// Before the first record was written completely nothing proves the layout. An interrupted write needs no proof.
func TestInterruptedFirstWrite(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func([]byte) []byte{
		"cut short":      func(data []byte) []byte { return data[:recordSize-5] },
		"only allocated": func(data []byte) []byte { clear(data); return data },
	} {
		s := newFakeStore(t)
		s.add("a", 1)
		s.change("a", 1, change)
		if report, err := s.Repair(); err != nil || report.Damaged != 1 || len(report.Skipped) > 0 {
			t.Errorf("%s: the report is %+v, error %v", name, report, err)
		}
	}
}

func TestKnownVersion(t *testing.T) {
	t.Parallel()
	if !provenVersions[knownVersion] {
		t.Errorf("%s is not in the table any more: use another version in these tests", knownVersion)
	}
}
