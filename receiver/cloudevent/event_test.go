package cloudevent_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
)

func newEvent() *cloudevent.Event {
	return &cloudevent.Event{
		Shared: cloudevent.NewShared("/apis/ö/shop", []cloudevent.Attribute{{"env", "prod"}}),
		ID:     "5da3", Type: "com.mandrill.message.send", Subject: "é \"quoted\"", ContentType: cloudevent.ContentJSON,
		DataSchema: "https://mandrill-operator.io/schemas/v1/com.mandrill.message.send.json",
		Time:       time.Date(2026, 11, 21, 2, 0, 0, 5e8, time.UTC), Data: []byte(`{"a":"\/"}`),
		Extensions: []cloudevent.Attribute{{"partitionkey", "100%"}, {"tag", "welcome mail"}},
	}
}

func TestFieldsOfBinaryMode(t *testing.T) {
	t.Parallel()
	e := newEvent()
	e.Set("traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
	e.Set("tracestate", "a=b")
	want := http.Header{
		"Content-Type": {"application/json"}, "Ce-Specversion": {"1.0"}, "Ce-Id": {"5da3"}, "Ce-Source": {"/apis/%25C3%25B6/shop"}, "Ce-Type": {"com.mandrill.message.send"},
		"Ce-Subject": {"%C3%A9 %22quoted%22"}, "Ce-Dataschema": {e.DataSchema}, "Ce-Time": {"2026-11-21T02:00:00.5Z"},
		"Ce-Env": {"prod"}, "Ce-Partitionkey": {"100%25"}, "Ce-Tag": {"welcome mail"},
		"Ce-Traceparent": {"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}, "Ce-Tracestate": {"a=b"},
		"Traceparent": {"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}, "Tracestate": {"a=b"},
	}
	if diff := cmp.Diff(want, cloudevent.Header(e.AppendFields(nil))); diff != "" {
		t.Error(diff)
	}
}

func TestTraceContextMustBeWellFormed(t *testing.T) {
	t.Parallel()
	for _, parent := range []string{
		"", "00", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-0", "00-0123456789ABCDEF0123456789abcdef-0123456789abcdef-01",
		"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01-x", "00x0123456789abcdef0123456789abcdef-0123456789abcdef-01",
	} {
		e := newEvent()
		e.Set("traceparent", parent)
		if got := e.AppendTrace(nil); len(got) > 0 {
			t.Errorf("%q: %s", parent, got)
		}
	}
}

func TestSetReplaces(t *testing.T) {
	t.Parallel()
	e, other := newEvent(), newEvent()
	other.Shared = e.Shared
	e.Set("env", "test")
	e.Set("tag", "other")
	e.Set("added", "1")
	got := [4]string{e.Extension("env"), e.Extension("tag"), e.Extension("added"), other.Extension("env")}
	if got != [4]string{"test", "other", "1", "prod"} {
		t.Errorf("got %q", got)
	}
	if fields := cloudevent.Header(e.AppendFields(nil)); len(fields["Ce-Env"]) != 1 || fields.Get("Ce-Env") != "test" {
		t.Errorf("fields %v", fields["Ce-Env"])
	}
	clone := e.Clone()
	clone.Set("tag", "clone's")
	if e.Extension("tag") != "other" {
		t.Error("a clone shares extensions")
	}
}

// The JSON of an event is what sdk-go writes and reads, whatever is in its attributes and data.
func FuzzJSONIsThatOfTheSDK(f *testing.F) {
	f.Add("5da3", "é \"quoted\"\x01\\", "welcome mail", `{"n": 12345678901234567890.10e+2,"s":"<\/\u00e9&>"}`, true)
	f.Add("1", "", "", "{\"event\":", false)
	f.Add("1", "\u2028", "\x7f", "", false)
	f.Fuzz(func(t *testing.T, id, subject, tag, data string, isJSON bool) {
		if !json.Valid([]byte(data)) || strings.TrimSpace(data) != data {
			isJSON = false
		}
		e := newEvent()
		e.ID, e.Subject, e.Data = "x"+strings.ToValidUTF8(id, "?")+"x", strings.TrimSpace(strings.ToValidUTF8(subject, "?")), []byte(data)
		e.Set("tag", strings.ToValidUTF8(tag, "?"))
		if !isJSON {
			e.ContentType = "application/octet-stream"
		}
		sdk := e.SDK()
		var written bytes.Buffer
		if err := event.WriteJson(&sdk, &written); err != nil {
			t.Fatal(err)
		}
		var want, got map[string]any
		if err := json.Unmarshal(written.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		encoded := e.AppendJSON(nil)
		if err := json.Unmarshal(encoded, &got); err != nil {
			t.Fatalf("%s: %v", encoded, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-sdk +got):\n%s", diff)
		}
		if isJSON && !bytes.Contains(encoded, []byte(`"data":`+data)) {
			t.Errorf("the data changed: %s", encoded)
		}
	})
}

// No value of an attribute can end its line, and every attribute can be decoded from its field.
func FuzzFieldsAreOneLineEach(f *testing.F) {
	f.Add("a\r\nInjected: x", "é%", "x: y")
	f.Fuzz(func(t *testing.T, id, subject, tag string) {
		e := newEvent()
		e.ID, e.Subject = id, subject
		e.Set("tag", tag)
		fields := e.AppendFields(nil)
		want := map[string]string{"Ce-Id": id, "Ce-Subject": subject, "Ce-Tag": tag}
		for line := range strings.SplitSeq(strings.TrimSuffix(string(fields), "\r\n"), "\r\n") {
			name, value, ok := strings.Cut(line, ": ")
			if !ok || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Fatalf("line %q", line)
			}
			if text, compared := want[name]; compared {
				if decoded := decode(value); decoded != text {
					t.Errorf("%s: %q, want %q", name, decoded, text)
				}
			}
		}
	})
}

func decode(value string) string {
	var out []byte
	for i := 0; i < len(value); i++ {
		if value[i] == '%' {
			out = append(out, unhex(value[i+1])<<4|unhex(value[i+2]))
			i += 2
			continue
		}
		out = append(out, value[i])
	}
	return string(out)
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'A' + 10
}
