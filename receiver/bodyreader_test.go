package receiver_test

import (
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver"
)

// growthReader counts how often the buffer into which it reads was enlarged.
type growthReader struct {
	io.Reader
	last    *byte // of the buffer
	growths int
}

func (r *growthReader) Read(p []byte) (int, error) {
	if last := &p[:cap(p)][cap(p)-1]; last != r.last {
		r.last = last
		r.growths++
	}
	return r.Reader.Read(p[:min(len(p), 1<<10)]) // as little as a connection may have
}

// The buffer of a body has about the size of what is decoded, and is not enlarged often, wherever the escapes are.
func TestBufferOfABodyGrowsSeldom(t *testing.T) {
	t.Parallel()
	const size, announced = 1 << 20, 0
	plain, escapes := strings.Repeat("x", size), strings.Repeat("%3B", size/3)
	for name, test := range map[string]struct {
		body      string
		announced int // 0: the length of the body
		memory    int64
		least     int64 // bytes of the buffer
		most      int64
	}{
		"plain":                         {plain, announced, 64 << 20, 0, size + 32},
		"escapes":                       {escapes, announced, 64 << 20, 0, size * 3 / 8},
		"escapes, of a large body":      {escapes, announced, 8 << 20, size * 4 / 10, size},
		"escapes only at first":         {escapes[:size/3*3/4] + plain[:size/2], announced, 64 << 20, 0, size},
		"escapes only later":            {plain[:size/4] + escapes[:size/4*3], announced, 64 << 20, 0, size},
		"empty fields, then a long one": {strings.Repeat("&", size/2) + "e=" + plain[:size/2], announced, 64 << 20, 0, size},
		"no length":                     {plain, -1, 64 << 20, 0, 2*size + 32},
		"too small a length":            {plain, 10, 64 << 20, 0, 2*size + 32},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := test.body
			if !strings.HasPrefix(body, "&") {
				body = "e=" + body
			}
			if test.announced == announced {
				test.announced = len(body)
			}
			reader := &growthReader{Reader: strings.NewReader(body)}
			form, held, err := receiver.ReadForm(t.Context(), reader, int64(test.announced), test.memory)
			want, wantErr := mandrill.ParseForm([]byte(body))
			if err != nil || wantErr != nil || !reflect.DeepEqual(form, want) {
				t.Fatalf("the form is wrong: %v, %v", err, wantErr)
			}
			if held < test.least || held > test.most {
				t.Errorf("the buffer has %d bytes for %d, want %d to %d", held, len(form.Get("e")), test.least, test.most)
			}
			if reader.growths > 12 {
				t.Errorf("it was enlarged %d times", reader.growths)
			}
		})
	}
}
