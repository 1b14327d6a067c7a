package natsfiles

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A length that is wrong may lead to where another record begins. Those in between are not lost.
func TestFindDamage(t *testing.T) {
	t.Parallel()
	hash := newHash("stream-1")
	const size = recordSize
	var intact []byte
	for i := range 40 {
		intact = append(intact, testRecord(hash, i+1)...)
	}
	for _, test := range []struct {
		name   string
		change func(data []byte) []byte
		want   []byteRange
	}{
		{"intact", func(data []byte) []byte { return data }, nil},
		{"a longer length", func(data []byte) []byte { data[3*size+1] ^= 4; return data }, []byteRange{{3 * size, 4 * size}}},
		{"no length", func(data []byte) []byte { data[3*size] = 0; return data }, []byteRange{{3 * size, 4 * size}}},
		{"data", func(data []byte) []byte { data[3*size+30] ^= 1; return data }, []byteRange{{3 * size, 4 * size}}},
		{"a number", func(data []byte) []byte { data[3*size+5] ^= 1; return data }, []byteRange{{3 * size, 4 * size}}},
		{"two in a row", func(data []byte) []byte { data[3*size], data[4*size] = 0, 0; return data }, []byteRange{{3 * size, 5 * size}}},
		{"two", func(data []byte) []byte { data[3*size], data[5*size] = 0, 0; return data }, []byteRange{{3 * size, 4 * size}, {5 * size, 6 * size}}},
		{"cut short", func(data []byte) []byte { return data[:5*size+10] }, []byteRange{{5 * size, 5*size + 10}}},
		{"nothing", func(data []byte) []byte { return data[:0] }, nil},
	} {
		got, _ := findDamage(hash, test.change(slices.Clone(intact)))
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(byteRange{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}
