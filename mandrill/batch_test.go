package mandrill_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

func TestSplitBatch(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	for _, test := range []struct {
		name, batch string
		want        []string
	}{
		{"empty", "[]", nil},
		{"empty with space", " [ \n] ", nil},
		{"one", `[{"a":1}]`, []string{`{"a":1}`}},
		{"space around elements goes, inside stays", "[ {\"a\" : 1} ,\t2 ]", []string{`{"a" : 1}`, "2"}},
		{"brackets and commas in strings", `[{"a":"],}["},"\"],[\\",3]`, []string{`{"a":"],}["}`, `"\"],[\\"`, "3"}},
		{"nested", `[[1,[2]],{"a":{"b":[]}}]`, []string{"[1,[2]]", `{"a":{"b":[]}}`}},
		{"odd elements", `[null,tru,{"a":},1e,{}]`, []string{"null", "tru", `{"a":}`, "1e", "{}"}},
		{"escapes stay", `[{"u":"\/\u00e9\ud800"}]`, []string{`{"u":"\/\u00e9\ud800"}`}},
		{"bytes that are no UTF-8 stay", "[{\"u\":\"\xff\"}]", []string{"{\"u\":\"\xff\"}"}},
		{"deep", "[" + deep + ",1]", []string{deep, "1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := mandrill.SplitBatch([]byte(test.batch))
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			for _, event := range got {
				texts = append(texts, string(event))
			}
			if diff := cmp.Diff(test.want, texts); diff != "" {
				t.Errorf("elements (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSplitBatchRefuses(t *testing.T) {
	t.Parallel()
	for name, batch := range map[string]string{
		"nothing": "", "space": "  ", "object": `{"event":"send"}`, "string": `"[]"`, "null": "null",
		"no end": `[{"a":1}`, "ends in element": `[{"a":`, "ends in string": `[{"a":"b`, "ends after comma": "[1,",
		"ends in escape": `["a\`, "empty element": "[1,,2]", "empty first": "[,1]", "trailing comma": "[1,]", "only comma": "[,]",
		"tail": "[1]x", "second array": "[1][2]", "wrong bracket": "[1}",
	} {
		if got, err := mandrill.SplitBatch([]byte(batch)); !errors.Is(err, mandrill.ErrNotArray) {
			t.Errorf("%s: got %q and error %v, want ErrNotArray", name, got, err)
		}
	}
}

func TestEmptyBatch(t *testing.T) {
	t.Parallel()
	for batch, want := range map[string]bool{
		"[]": true, " [ \n\t] ": true, "": false, "[": false, "]": false, "[1]": false, "[[]]": false, "[][]": false, "[]]": false, "{}": false, "null": false, "[ ,]": false,
	} {
		if got := mandrill.EmptyBatch([]byte(batch)); got != want {
			t.Errorf("%q: got %t", batch, got)
		}
	}
}

// splitSlowly does what SplitBatch documents, one byte at a time. It returns nil for anything but an array.
func splitSlowly(batch string) []string {
	const space = " \n\t\r"
	batch = strings.Trim(batch, space)
	if !strings.HasPrefix(batch, "[") {
		return nil
	}
	elements, begin, depth, quoted := []string{}, 1, 0, false
	for i := 0; i < len(batch); i++ {
		c := batch[i]
		switch {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[', c == '{':
			depth++
		case depth > 1 && (c == ']' || c == '}'):
			depth--
		case depth == 1 && c == '}':
			return nil
		case depth == 1 && (c == ',' || c == ']'):
			element := strings.Trim(batch[begin:i], space)
			if element == "" && (c == ',' || len(elements) > 0) {
				return nil
			}
			if element != "" {
				elements = append(elements, element)
			}
			if begin = i + 1; c == ']' && begin == len(batch) {
				return elements
			}
			if c == ']' {
				return nil
			}
		}
	}
	return nil
}

// SplitBatch agrees with splitSlowly, and with encoding/json for everything that encoding/json accepts as an array.
func FuzzSplitBatch(f *testing.F) {
	for _, sample := range mandrilltest.Samples() {
		f.Add(mandrilltest.Batch(sample, sample))
	}
	f.Add([]byte(`[null,[1,"]"],{"a":"\"}"}, -1e5 ]`))
	f.Add([]byte(`["\\","\\\"]",tru]x`))
	f.Add([]byte(`[{}}]`))
	f.Fuzz(func(t *testing.T, batch []byte) {
		got, err := mandrill.SplitBatch(batch)
		if empty := mandrill.EmptyBatch(batch); empty != (err == nil && len(got) == 0) {
			t.Fatalf("EmptyBatch is %t, SplitBatch has %d elements and error %v", empty, len(got), err)
		}
		for _, event := range got {
			mandrill.ParseEvent(event) // must not panic
		}
		plain := splitSlowly(string(batch))
		if (plain == nil) != (err != nil) || len(plain) != len(got) {
			t.Fatalf("got %q and error %v, plainly it is %q", got, err, plain)
		}
		for i := range plain {
			if string(got[i]) != plain[i] {
				t.Fatalf("element %d is %q, plainly it is %q", i, got[i], plain[i])
			}
		}
		var want []json.RawMessage
		if json.Unmarshal(batch, &want) != nil || want == nil {
			return
		}
		if err != nil || len(got) != len(want) {
			t.Fatalf("got %d elements and error %v, encoding/json has %d", len(got), err, len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("element %d is %q, encoding/json has %q", i, got[i], want[i])
			}
		}
	})
}

// Half a million elements fit into a megabyte, and what is made of each of them takes a thousand times its bytes.
func TestSplitBatchBoundsTheElements(t *testing.T) {
	t.Parallel()
	batch := func(elements int) []byte { return []byte("[" + strings.Repeat("0,", elements-1) + "0]") }
	if got, err := mandrill.SplitBatch(batch(mandrill.MaxElements)); err != nil || len(got) != mandrill.MaxElements {
		t.Errorf("%d elements: got %d, %v", mandrill.MaxElements, len(got), err)
	}
	if got, err := mandrill.SplitBatch(batch(mandrill.MaxElements + 1)); !errors.Is(err, mandrill.ErrTooManyEvents) {
		t.Errorf("%d elements: got %d, %v", mandrill.MaxElements+1, len(got), err)
	}
}

func TestFirstTagCostsNoMoreThanItself(t *testing.T) { // not parallel: it measures memory
	raw := []byte(`{"event":"open","_id":"a","msg":{"tags":[ "first"` + strings.Repeat(`,0`, 1<<20) + `]}}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	event := mandrill.ParseEvent(raw)
	runtime.ReadMemStats(&after)
	if event.Tag != "first" {
		t.Errorf("got the tag %q", event.Tag)
	}
	if bytes := after.TotalAlloc - before.TotalAlloc; bytes > 100_000 {
		t.Errorf("parsing allocated %d bytes", bytes)
	}
}
