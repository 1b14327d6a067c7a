package journal_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/s2"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

var entries = []journal.PendingEvent{
	{ID: "1", Raw: []byte(`{"event":"send"}`), Attempts: 3, DeadLetterAttempts: 1, Due: time.UnixMilli(1795227549000).UTC(), Status: 503, Answer: "später", Exhausted: true},
	{ID: "1-1", Raw: []byte("\xff\x00\"no JSON"), Refused: true},
	{ID: "3", Raw: []byte{}},
}

// Compressed data does not change when more is compressed, at the same time or later, and pins no more memory than it has.
func TestCompressedDataIsACopy(t *testing.T) {
	t.Parallel()
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			var data, compressed [][]byte
			for _, size := range []int{0, 1, 3 << 20, 100, 1 << 20, 2 << 20, 1 << 20} {
				data = append(data, bytes.Repeat([]byte{byte(worker), byte(len(data))}, size))
				compressed = append(compressed, journal.Compress(data[len(data)-1]))
			}
			for i, each := range compressed {
				if got, err := s2.Decode(nil, each); err != nil || !bytes.Equal(got, data[i]) {
					t.Errorf("worker %d: %d bytes are not what they were, error %v", worker, len(data[i]), err)
				}
				if cap(each) > len(data[i])/4+64 {
					t.Errorf("%d bytes take %d when they are compressed", len(data[i]), cap(each))
				}
			}
		})
	}
	group.Wait()
}

// Events are read as they were written, and what is not written so is an error without a payload.
func TestEventsAreReadAsWritten(t *testing.T) {
	t.Parallel()
	data, err := journal.EncodeEvents(entries)
	if err != nil {
		t.Fatal(err)
	}
	got, err := journal.DecodeEvents(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entries, got); diff != "" {
		t.Error(diff)
	}
	for name, damaged := range map[string][]byte{
		"nothing":         nil,
		"a length alone":  {0x80},
		"a huge length":   {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, '[', ']'},
		"cut short":       data[:len(data)-1],
		"longer":          append(bytes.Clone(data), 'x'),
		"no index":        append([]byte{3}, "{}x"...),
		"negative length": append([]byte{22}, `[{"id":"","length":-1}]`[:22]...),
	} {
		if entries, err := journal.DecodeEvents(damaged); err == nil || strings.Contains(err.Error(), "send") {
			t.Errorf("%s: got %+v, error %v", name, entries, err)
		}
	}
}

// Whatever a failing disk returns, decoding it is an error, or events that are the same when they are encoded again.
func FuzzEvents(f *testing.F) {
	data, err := journal.EncodeEvents(entries)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{2, '[', ']'})
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := journal.DecodeEvents(data)
		if err != nil {
			return
		}
		again, err := journal.EncodeEvents(first)
		if err != nil {
			t.Skip() // a time that cannot be encoded
		}
		second, err := journal.DecodeEvents(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Error(diff)
		}
	})
}
