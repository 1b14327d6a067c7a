package events_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/events"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
)

// typeOf returns the CloudEvents type that the receiver gives an event.
func typeOf(raw []byte) string {
	ceType, _ := mapping.TypeOf(mandrill.ParseEvent(raw))
	return ceType
}

// parse parses an event as its consumer does.
func parse(t *testing.T, raw string) any {
	t.Helper()
	parsed, err := events.Parse(mapping.CloudEvent(mapping.Target{Source: "/s"}, mandrill.ParseEvent([]byte(raw)), "id"))
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return parsed
}

// The receiver's types are those of this package, and the other way round.
func TestTypesAreThoseOfTheReceiver(t *testing.T) {
	t.Parallel()
	want := map[string]bool{}
	for _, row := range eventtypes.Table {
		want[row.Type] = true
	}
	got := map[string]bool{}
	for _, each := range events.Types {
		got[each.Name] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("types (-receiver +events):\n%s", diff)
	}
}

// The types of alerts are those of the operator, and begin alike.
func TestAlertsAreThoseOfTheOperator(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, row := range eventtypes.Alerts {
		want = append(want, row.Type)
	}
	for _, each := range events.Alerts {
		got = append(got, each.Name)
		if !strings.HasPrefix(each.Name, events.PrefixAlert) {
			t.Errorf("%s does not begin with %s", each.Name, events.PrefixAlert)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("alerts (-operator +events):\n%s", diff)
	}
}

// Every sample has a type of its own, keeps everything it has, and is the same after a round trip.
func TestSamplesRoundTrip(t *testing.T) {
	t.Parallel()
	for name, sample := range mandrilltest.Samples() {
		parsed := parse(t, string(sample))
		if _, unknown := parsed.(*events.Unknown); unknown {
			t.Errorf("%s: unknown", name)
		}
		normal, err := json.Marshal(parsed)
		if err != nil {
			t.Fatal(err)
		}
		again, err := events.ParseData(typeOf(sample), normal)
		if err != nil {
			t.Fatalf("%s: %s: %v", name, normal, err)
		}
		if diff := cmp.Diff(parsed, again); diff != "" {
			t.Errorf("%s after a round trip:\n%s", name, diff)
		}
		if reflect.ValueOf(parsed).Elem().FieldByName("Extra").Len() > 0 {
			t.Errorf("%s has fields that the types do not have: %s", name, normal)
		}
	}
}

func TestFieldsOfAnOpen(t *testing.T) {
	t.Parallel()
	open := parse(t, string(mandrilltest.Samples()["open"])).(*events.Open)
	if open.Message.Email != "ana@shop.example" || open.IP != "203.0.113.9" || open.Location.City != "Lisbon" || *open.Location.Latitude != 38.7167 || open.UserAgentParsed.UAFamily != "Thunderbird" ||
		!open.TS.Equal(time.Unix(1767225650, 0)) || open.Message.Metadata.Text("attempt") != "1" || open.Message.Metadata["order_id"] != "A-1042" || open.Message.Tags[0] != "shipping" ||
		open.Message.Opens[0].Location != "Lisbon, PT" {
		t.Errorf("got %+v", open)
	}
}

func TestFieldsOfInboundMail(t *testing.T) {
	t.Parallel()
	mail := parse(t, string(mandrilltest.Samples()["inbound"])).(*events.Inbound).Message
	note, err := mail.Attachments["note.txt"].Bytes()
	scan, err2 := mail.Attachments["scan.pdf"].Bytes()
	logo, err3 := mail.Images["logo.png"].Bytes()
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	if string(note) != "plain words\n" || string(scan) != "%PDF-1.4\n" || !strings.HasPrefix(string(logo), "\x89PNG") {
		t.Errorf("got %q, %q, %q", note, scan, logo)
	}
	if len(mail.Headers["Received"]) != 2 || mail.Headers.Get("message-id") != "<m1@sender.example>" || mail.To[0] != (events.Address{Email: "help-77@in.shop.example", Name: "Help"}) ||
		mail.CC[0] != (events.Address{Email: "boss@sender.example"}) || mail.SPF.Result != "pass" || !mail.DKIM.Valid || mail.SpamReport.Score != 0.3 || mail.SpamReport.MatchedRules[1].Name != "" {
		t.Errorf("got %+v", mail)
	}
}

// Each quirk gives the same as what it stands for.
func TestQuirksAreAbsorbed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ quirk, plain string }{
		{`{"event":"send","msg":[]}`, `{"event":"send","msg":{}}`},
		{`{"event":"send","msg":null,"ts":null,"_id":null}`, `{"event":"send"}`},
		{`{"event":"send","msg":{"metadata":[],"tags":null}}`, `{"event":"send","msg":{"metadata":{},"tags":[]}}`},
		{`{"event":"send","msg":{"metadata":["a"]}}`, `{"event":"send","msg":{"metadata":{"0":"a"}}}`},
		{`{"event":"send","msg":{"tags":"one"}}`, `{"event":"send","msg":{"tags":["one"]}}`},
		{`{"event":"send","msg":{"tags":{"1":"one","3":"two"}}}`, `{"event":"send","msg":{"tags":["one","two"]}}`},
		{`{"event":"send","ts":"1767225600"}`, `{"event":"send","ts":1767225600}`},
		{`{"event":"send","msg":{"_version":3}}`, `{"event":"send","msg":{"_version":"3"}}`},
		{`{"event":"send","msg":{"_id":"a"}}`, `{"event":"send","_id":"a","msg":{"_id":"a"}}`},
		{`{"event":"reject","msg":{"reject":"spam"}}`, `{"event":"reject","msg":{"reject":{"reason":"spam"}}}`},
		{`{"event":"reject","msg":{"reject":[]}}`, `{"event":"reject","msg":{"reject":null}}`},
		{`{"event":"open","location":{"latitude":"38.5","longitude":"INVALID IP ADDRESS","country_long":"Portugal"}}`, `{"event":"open","location":{"latitude":38.5,"country":"Portugal"}}`},
		{`{"event":"open","location":[],"user_agent_parsed":[]}`, `{"event":"open"}`},
		{`{"event":"hard_bounce","msg":{"bgtools_code":"10"}}`, `{"event":"hard_bounce","msg":{"bgtools_code":10}}`},
		{`{"type":"whitelist","action":"add","entry":{"email":"a@b"}}`, `{"type":"allowlist","action":"add","entry":{"email":"a@b"}}`},
		{`{"type":"safelist","action":"add","reject":{"email":"a@b"}}`, `{"type":"allowlist","action":"add","entry":{"email":"a@b"}}`},
		{`{"type":"blacklist","action":"change","entry":{"email":"a@b","expired":0}}`, `{"type":"denylist","action":"change","reject":{"email":"a@b","expired":false}}`},
		{`{"type":"blocklist","action":"change","reject":{"email":"a@b","expired":"1","sender":"s@b"}}`, `{"type":"denylist","action":"change","reject":{"email":"a@b","expired":true,"sender":{"address":"s@b"}}}`},
		{`{"event":"inbound","msg":{"headers":[],"attachments":[],"images":null}}`, `{"event":"inbound","msg":{}}`},
		{`{"event":"inbound","msg":{"headers":{"To":"a"}}}`, `{"event":"inbound","msg":{"headers":{"To":["a"]}}}`},
		{`{"event":"inbound","msg":{"to":["a@b"],"cc":"a@b"}}`, `{"event":"inbound","msg":{"to":[["a@b",null]],"cc":[["a@b"]]}}`},
		{`{"event":"inbound","msg":{"attachments":[{"name":"a.txt","content":"x","base64":0}]}}`, `{"event":"inbound","msg":{"attachments":{"a.txt":{"content":"x","base64":false}}}}`},
		{"{\"event\":\"send\",\"msg\":{\"subject\":\"\xe9\"}}", `{"event":"send","msg":{"subject":"\ufffd"}}`},
	} {
		if diff := cmp.Diff(parse(t, test.plain), parse(t, test.quirk)); diff != "" {
			t.Errorf("%s is not as %s:\n%s", test.quirk, test.plain, diff)
		}
	}
}

// What the types do not know is kept at every level.
func TestUnknownFieldsAreKept(t *testing.T) {
	t.Parallel()
	const raw = `{"event":"click","new":[1.50,null],"msg":{"new":{"a":"<b>"},"clicks":[{"ts":5,"new":1}]},"location":{"new":true}}`
	normal, err := json.Marshal(parse(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"new":[1.50,null]`, `"new":{"a":"\u003cb\u003e"}`, `"clicks":[{"ts":5,"new":1}]`, `"location":{"new":true}`} {
		if !strings.Contains(string(normal), want) {
			t.Errorf("%s does not have %s", normal, want)
		}
	}
	const both = `{"type":"allowlist","action":"add","entry":{"email":"a@b"},"reject":{"email":"c@d"}}`
	added := parse(t, both).(*events.AllowlistAdd)
	if added.Entry.Email != "a@b" || string(added.Extra["reject"]) != `{"email":"c@d"}` {
		t.Errorf("got %+v", added)
	}
}

// The event names in the data must be those of the type, and an error says where without saying what.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ ceType, data, want string }{
		{"com.example", `{}`, `not a type of Mandrill's events: "com.example"`},
		{"com.mandrill.message.", `{"event":""}`, "not a type of Mandrill's events"},
		{events.TypeOpen, `{"event":"click"}`, "event: "},
		{events.TypeOpen, `{}`, "event: "},
		{events.TypeDenylistAdd, `{"type":"whitelist","action":"add"}`, "type and action: "},
		{events.PrefixMessage + "new", `{"event":"newer"}`, "event: "},
		{events.TypeOpen, `[]`, "want an object"},
		{events.TypeOpen, `{"event":"open"`, "not valid JSON"},
		{events.TypeOpen, `{"event":"open","msg":{"tags":["a",{"secret":1}]}}`, "msg.tags[1]: want a string, a number or null"},
		{events.TypeOpen, `{"event":"open","msg":{"opens":[{"ts":{}}]}}`, "msg.opens[0].ts: want a string, a number or null"},
		{events.TypeOpen, `{"event":"open","location":"secret"}`, "location: want an object, [] or null"},
		{events.TypeInbound, `{"event":"inbound","msg":{"headers":{"Secret":{"a":{}}}}}`, "msg.headers[0][0]: want a string, a number or null"},
		{events.TypeInbound, `{"event":"inbound","msg":{"to":[["a","b","c"]]}}`, "msg.to[0]: want an address, or a pair of address and name"},
	} {
		_, err := events.ParseData(test.ceType, []byte(test.data))
		if err == nil || !strings.HasPrefix(err.Error(), test.want) || strings.Contains(strings.ToLower(err.Error()), "secret") {
			t.Errorf("%s: got %v, want %s", test.data, err, test.want)
		}
	}
	if _, err := events.ParseData("com.example", nil); !errors.Is(err, events.ErrType) {
		t.Errorf("got %v, want ErrType", err)
	}
}

// What is not an object is data all the same.
func TestUnknownEventsHaveTheirBytes(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{`null`, `[1]`, "\xff", `{"event":{}}`} {
		if got := parse(t, raw).(*events.Unknown); string(got.Data) != raw {
			t.Errorf("%q: got %q", raw, got.Data)
		}
	}
}

// encoding/json with the types gives the same as Parse.
func TestTypesDecodeThemselves(t *testing.T) {
	t.Parallel()
	var got events.HardBounce
	sample := mandrilltest.Samples()["hard_bounce"]
	if err := json.Unmarshal(sample, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(parse(t, string(sample)), &got); diff != "" {
		t.Errorf("(-Parse +json.Unmarshal):\n%s", diff)
	}
	message, err := json.Marshal(got.Message)
	if err != nil || !strings.Contains(string(message), `"bgtools_code":10`) || !strings.Contains(string(message), `"ts":1767225600`) {
		t.Errorf("a message alone is %s, error %v", message, err)
	}
}

func TestTimesAndDates(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`1767225600`: `1767225600`, `1767225600.25`: `1767225600.25`, `"1767225600"`: `1767225600`, `1.7672256e9`: `1767225600`, `253402300799`: `253402300799`,
		`253402300800`: `null`, `0`: `null`, `-1`: `null`, `1e999`: `null`, `"x"`: `null`, `null`: `null`, `"NaN"`: `null`,
	} {
		var got events.Timestamp
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if encoded, err := json.Marshal(got); err != nil || string(encoded) != want {
			t.Errorf("%s: got %s, error %v, want %s", text, encoded, err, want)
		}
	}
	if got := events.Date("2026-01-02 03:04:05").Time(); !got.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) || !events.Date("0000-00-00 00:00:00").Time().IsZero() {
		t.Errorf("got %s", got)
	}
}
