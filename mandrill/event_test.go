package mandrill_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

const sampleID = "7b1f0c55a3e24f0db2c9d6e8f4a10b37"

func message(name string, ts int64) mandrill.Event {
	return mandrill.Event{
		Kind: mandrill.KindMessage, Name: name, MessageID: sampleID, Email: "ana@shop.example", Tag: "shipping",
		Time: time.Unix(ts, 0).UTC(),
	}
}

func sync(list, action, email string, ts int64) mandrill.Event {
	return mandrill.Event{Kind: mandrill.KindSync, Name: list, Action: action, Email: email, Time: time.Unix(ts, 0).UTC()}
}

func inbound(ts int64) mandrill.Event {
	return mandrill.Event{Kind: mandrill.KindInbound, Name: "inbound", Email: "help-77@in.shop.example", Time: time.Unix(ts, 0).UTC()}
}

func with(event mandrill.Event, change func(*mandrill.Event)) mandrill.Event {
	change(&event)
	return event
}

func TestParseEventSamples(t *testing.T) {
	t.Parallel()
	wants := map[string]mandrill.Event{
		"send":        message("send", 1767225604),
		"deferral":    message("deferral", 1767225604),
		"hard_bounce": with(message("hard_bounce", 1767225605), func(e *mandrill.Event) { e.Email = "nobody@shop.example" }),
		"soft_bounce": message("soft_bounce", 1767225605),
		"delivered":   message("delivered", 1767225606),
		"open":        message("open", 1767225650),
		"open-degraded": with(message("open", 1769904000), func(e *mandrill.Event) {
			e.Email, e.Tag = "", ""
		}),
		"open-quirks":           with(message("open", 1767225650), func(e *mandrill.Event) { e.Tag = "" }),
		"click":                 message("click", 1767225700),
		"spam":                  message("spam", 1767229200),
		"unsub":                 message("unsub", 1767229300),
		"reject":                with(message("reject", 1767225601), func(e *mandrill.Event) { e.Email = "blocked@shop.example" }),
		"sync-blacklist-add":    sync("denylist", "add", "nobody@shop.example", 1767225606),
		"sync-blacklist-change": sync("denylist", "change", "nobody@shop.example", 1767439353),
		"sync-blacklist-remove": with(sync("denylist", "remove", "nobody@shop.example", 1767439400), func(e *mandrill.Event) {
			e.Subaccount = "blue"
		}),
		"sync-whitelist-add":              sync("allowlist", "add", "qa@shop.example", 1767261600),
		"sync-whitelist-remove":           sync("allowlist", "remove", "qa@shop.example", 1767265200),
		"sync-allowlist-documented-shape": sync("allowlist", "add", "qa@shop.example", 1767261600),
		"inbound":                         inbound(1767258002),
		"inbound-minimal":                 inbound(1767258003),
	}
	samples := mandrilltest.Samples()
	for name := range samples {
		if _, ok := wants[name]; !ok {
			t.Errorf("sample %s has no expectation", name)
		}
	}
	for name, want := range wants {
		got := mandrill.ParseEvent(samples[name])
		if string(got.Raw) != string(samples[name]) {
			t.Errorf("%s: Raw is not the sample", name)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(mandrill.Event{}, "Raw")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestParseEventUnusualInput(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	unknown := mandrill.Event{}
	for name, test := range map[string]struct {
		raw  string
		want mandrill.Event
	}{
		"null":                      {"null", unknown},
		"number":                    {"42", unknown},
		"string":                    {`"event"`, unknown},
		"array":                     {"[]", unknown},
		"empty object":              {"{}", unknown},
		"not JSON":                  {`{"event":"send"`, unknown},
		"not JSON after the name":   {`{"event":"send","x":tru}`, unknown},
		"control character":         {"{\"event\":\"send\",\"x\":\"a\nb\"}", unknown},
		"something after":           {`{"event":"send"} x`, unknown},
		"empty name":                {`{"event":"","_id":"a"}`, mandrill.Event{MessageID: "a"}},
		"name of another type":      {`{"event":["send"]}`, unknown},
		"name with a space":         {`{"event":"hard bounce"}`, unknown},
		"name with a line break":    {`{"event":"send\n"}`, unknown},
		"name too long":             {`{"event":"` + strings.Repeat("a", 65) + `"}`, unknown},
		"name not ASCII":            {`{"event":"é"}`, unknown},
		"name of tomorrow":          {`{"event":"sms_sent"}`, mandrill.Event{Kind: mandrill.KindMessage, Name: "sms_sent"}},
		"name under an escape":      {`{"ev\u0065nt":"s\u0065nd"}`, mandrill.Event{Kind: mandrill.KindMessage, Name: "send"}},
		"key of other case":         {`{"Event":"send"}`, unknown},
		"last of a repeated key":    {`{"event":"send","event":"open"}`, mandrill.Event{Kind: mandrill.KindMessage, Name: "open"}},
		"event before type":         {`{"type":"blacklist","action":"add","event":"open"}`, mandrill.Event{Kind: mandrill.KindMessage, Name: "open"}},
		"safelist":                  {`{"type":"safelist","action":"add"}`, mandrill.Event{Kind: mandrill.KindSync, Name: "allowlist", Action: "add"}},
		"blocklist":                 {`{"type":"blocklist","action":"add"}`, mandrill.Event{Kind: mandrill.KindSync, Name: "denylist", Action: "add"}},
		"list without an action":    {`{"type":"denylist"}`, unknown},
		"unknown list":              {`{"type":"greylist","action":"add"}`, unknown},
		"entry with an empty email": {`{"type":"denylist","action":"add","reject":{"email":"a@x"},"entry":{"email":""}}`, mandrill.Event{Kind: mandrill.KindSync, Name: "denylist", Action: "add", Email: "a@x"}},
		"nested 10,000 deep":        {`{"event":"send","x":` + deep + `}`, mandrill.Event{Kind: mandrill.KindMessage, Name: "send"}},
		"id only in msg":            {`{"event":"send","msg":{"_id":"m"}}`, mandrill.Event{Kind: mandrill.KindMessage, Name: "send", MessageID: "m"}},
		"id as a number":            {`{"event":"send","_id":123456789012345678901234567890}`, mandrill.Event{Kind: mandrill.KindMessage, Name: "send", MessageID: "123456789012345678901234567890"}},
		"msg null":                  {`{"event":"send","msg":null}`, mandrill.Event{Kind: mandrill.KindMessage, Name: "send"}},
		"tags as a string":          {`{"event":"send","msg":{"tags":"a"}}`, mandrill.Event{Kind: mandrill.KindMessage, Name: "send", Tag: "a"}},
		"ts as a string":            {`{"event":"send","ts":"1767225604"}`, with(mandrill.Event{Kind: mandrill.KindMessage, Name: "send"}, func(e *mandrill.Event) { e.Time = time.Unix(1767225604, 0).UTC() })},
		"ts with a fraction":        {`{"event":"send","ts":1767225604.25}`, with(mandrill.Event{Kind: mandrill.KindMessage, Name: "send"}, func(e *mandrill.Event) { e.Time = time.Unix(1767225604, 25e7).UTC() })},
		"ts beyond 2^63":            {`{"event":"send","ts":99999999999999999999}`, mandrill.Event{Kind: mandrill.KindMessage, Name: "send"}},
		"ts beyond year 9999":       {`{"event":"send","ts":253402300800}`, mandrill.Event{Kind: mandrill.KindMessage, Name: "send"}},
		"ts negative":               {`{"event":"send","ts":-1}`, mandrill.Event{Kind: mandrill.KindMessage, Name: "send"}},
		"ts null":                   {`{"event":"send","ts":null}`, mandrill.Event{Kind: mandrill.KindMessage, Name: "send"}},
		"lone surrogate":            {`{"event":"send","_id":"a\ud800b"}`, mandrill.Event{Kind: mandrill.KindMessage, Name: "send", MessageID: "a\uFFFDb"}},
		"surrogate pair":            {`{"event":"send","_id":"\ud83d\ude00"}`, mandrill.Event{Kind: mandrill.KindMessage, Name: "send", MessageID: "😀"}},
		"not UTF-8":                 {"{\"event\":\"send\",\"_id\":\"a\xff\"}", mandrill.Event{Kind: mandrill.KindMessage, Name: "send", MessageID: "a\uFFFD"}},
	} {
		got := mandrill.ParseEvent([]byte(test.raw))
		if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(mandrill.Event{}, "Raw")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if string(got.Raw) != test.raw {
			t.Errorf("%s: the bytes were not kept", name)
		}
	}
}

func TestEventNames(t *testing.T) {
	t.Parallel()
	for current, wire := range map[string]string{"allowlist": "whitelist", "denylist": "blacklist", "open": "open"} {
		if got := mandrill.WireName(current); got != wire {
			t.Errorf("WireName(%s) = %s, want %s", current, got, wire)
		}
		if got := mandrill.CurrentName(wire); got != current {
			t.Errorf("CurrentName(%s) = %s, want %s", wire, got, current)
		}
	}
}

// For an element that encoding/json accepts as an object, ParseEvent finds the same event name.
func FuzzParseEvent(f *testing.F) {
	for _, sample := range mandrilltest.Samples() {
		f.Add(sample)
	}
	f.Add([]byte(`{"event":"a\u00e9\ud83d\ude00","_id":-1.5e3,"ts":"1"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		event := mandrill.ParseEvent(raw)
		var object map[string]json.RawMessage
		if err := json.Unmarshal(raw, &object); err != nil || object == nil {
			if event.Kind != mandrill.KindUnknown && json.Valid(raw) {
				t.Fatalf("%q is not an object and got kind %d", raw, event.Kind)
			}
			return
		}
		var name string
		if json.Unmarshal(object["event"], &name) == nil && event.Kind == mandrill.KindMessage && event.Name != name {
			t.Fatalf("got name %q, encoding/json has %q", event.Name, name)
		}
		var id string
		if json.Unmarshal(object["_id"], &id) == nil && id != "" && event.MessageID != id {
			t.Fatalf("got id %q, encoding/json has %q", event.MessageID, id)
		}
	})
}
