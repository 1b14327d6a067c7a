package journal

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A length that is wrong may lead to where another record begins. Those in between are not lost.
func TestFindGaps(t *testing.T) {
	t.Parallel()
	hash := hasher("stream-1")
	const size = 64
	var intact []byte
	for i := range 40 {
		one := erasedRecord(hash, size)
		binary.LittleEndian.PutUint64(one[4:], uint64(i+1))
		copy(one[size-8:], hash(one[4:20], one[22:size-8]))
		intact = append(intact, one...)
	}
	for _, test := range []struct {
		name   string
		change func(data []byte) []byte
		want   []damagedRange
	}{
		{"intact", func(data []byte) []byte { return data }, nil},
		{"a longer length", func(data []byte) []byte { data[3*size+1] ^= 4; return data }, []damagedRange{{3 * size, 4 * size}}},
		{"no length", func(data []byte) []byte { data[3*size] = 0; return data }, []damagedRange{{3 * size, 4 * size}}},
		{"data", func(data []byte) []byte { data[3*size+30] ^= 1; return data }, []damagedRange{{3 * size, 4 * size}}},
		{"a number", func(data []byte) []byte { data[3*size+5] ^= 1; return data }, []damagedRange{{3 * size, 4 * size}}},
		{"two in a row", func(data []byte) []byte { data[3*size], data[4*size] = 0, 0; return data }, []damagedRange{{3 * size, 5 * size}}},
		{"two", func(data []byte) []byte { data[3*size], data[5*size] = 0, 0; return data }, []damagedRange{{3 * size, 4 * size}, {5 * size, 6 * size}}},
		{"cut short", func(data []byte) []byte { return data[:5*size+10] }, []damagedRange{{5 * size, 5*size + 10}}},
		{"nothing", func(data []byte) []byte { return data[:0] }, nil},
	} {
		got := findDamage(hash, test.change(slices.Clone(intact)))
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(damagedRange{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}
