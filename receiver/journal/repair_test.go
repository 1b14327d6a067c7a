package journal_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// letters are some that cannot be compressed much.
func letters(n int) string {
	text := make([]byte, n)
	for i := range text {
		text[i] = byte('a' + rand.IntN(26))
	}
	return string(text)
}

// The file of a stream is damaged at any place: of twenty batches one is lost, or two where it was between them.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := open(t, dir, journal.MinBytes)
	const batches = 20
	for i := range batches { // all of one size: also a wrong length may lead to where another begins
		o.append(batch("shop/a", strconv.Quote(letters(100)+fmt.Sprintf("%02d", i))))
	}
	o.stop()
	block := filepath.Join(dir, "nats", "jetstream", "$G", "streams", "mandrill-batch", "msgs", "1.blk")
	intact, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	subject := []byte("mandrill.batch.") // before it is the header of a record
	second := len(subject) + bytes.Index(intact[22+len(subject):], subject)
	length := len(subject) + bytes.Index(intact[second+22+len(subject):], subject)
	places := []int{0, 1, 2, 3, 4, 11, 12, 19, 20, 21, 22, length - 1}
	for range 20 {
		places = append(places, rand.IntN(length))
	}
	for _, place := range places {
		changed := bytes.Clone(intact)
		changed[second+place] ^= 1 << rand.IntN(8)
		if err := os.WriteFile(block, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		o := open(t, dir, journal.MinBytes)
		for i := range batches {
			if i == 1 {
				continue
			}
			unit := o.next("shop/a", uint64(i+1))
			if unit == nil || !strings.HasSuffix(string(unit.Value), fmt.Sprintf("%02d", i)+`"]`) {
				t.Errorf("a bit at %d was changed, and batch %d is %+v", place, i, unit)
			}
		}
		if unit := o.next("shop/a", 2); unit == nil || unit.Position.Seq != 3 {
			t.Errorf("a bit at %d was changed, and that batch is %+v", place, unit)
		}
		o.append(batch("shop/a", strconv.Itoa(place)+letters(8)))
		o.stop()
	}
	aside, err := os.ReadDir(filepath.Join(dir, "damaged"))
	if err != nil || len(aside) < len(places) {
		t.Errorf("%d files were set aside, error %v", len(aside), err)
	}
}

// A file rots while the server runs: of what it cannot read the server says that it is not there.
func TestRot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := open(t, dir, journal.MinBytes)
	const batches = 10 // two in a file
	for i := range batches {
		o.append(batch("shop/a", strconv.Quote(letters(1900<<10)+strconv.Itoa(i))))
	}
	<-time.After(5 * time.Second) // the server forgets what it has written some time ago, and does not say when
	block := filepath.Join(dir, "nats", "jetstream", "$G", "streams", "mandrill-batch", "msgs", "2.blk")
	data, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	data[1<<20] ^= 1
	if err := os.WriteFile(block, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var unit *journal.StoredBatch
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_ = o.Lead(ctx, func(ctx context.Context, w *journal.Consumer) (err error) {
		unit, err = w.Next(ctx, "shop/a", 3) // the first in the second file
		if err == nil {
			cancel()
		}
		return err
	})
	if unit == nil || unit.Position.Seq != 4 {
		t.Fatal("after the one that is damaged the next one was not taken")
	}
	if unit := o.next("shop/a", batches); unit == nil {
		t.Error("the last one is gone")
	}
	if unit := o.next("shop/a", batches+1); unit != nil {
		t.Error("after the last one there is something")
	}
}
