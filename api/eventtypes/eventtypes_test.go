package eventtypes_test

import (
	"slices"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
)

// An event that is not in the table gets a type of its own, and a label from a closed set.
func TestOfCompletesThePrefixOfAFamily(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		family       eventtypes.Family
		name, action string
		want, label  string
	}{
		{eventtypes.Message, "open", "", "com.mandrill.message.open", "com.mandrill.message.open"},
		{eventtypes.Message, "sms_sent", "", "com.mandrill.message.sms_sent", "com.mandrill.message.*"},
		{eventtypes.Sync, "denylist", "change", "com.mandrill.sync.denylist.change", "com.mandrill.sync.denylist.change"},
		{eventtypes.Sync, "allowlist", "change", "com.mandrill.sync.allowlist.change", "com.mandrill.sync.*"},
		{eventtypes.Inbound, "inbound", "", "com.mandrill.inbound", "com.mandrill.inbound"},
		{eventtypes.Unknown, "", "", "com.mandrill.unknown", "com.mandrill.unknown"},
	} {
		if got, label := eventtypes.Of(test.family, test.name, test.action); got != test.want || label != test.label {
			t.Errorf("%s %q %q: got %q with label %q, want %q with %q", test.family, test.name, test.action, got, label, test.want, test.label)
		}
	}
}

func TestSubscribedHasEveryTypeOfAnEvent(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"open":      {"com.mandrill.message.open"},
		"sms_sent":  {"com.mandrill.message.sms_sent"},
		"allowlist": {"com.mandrill.sync.allowlist.add", "com.mandrill.sync.allowlist.remove"},
		"denylist":  {"com.mandrill.sync.denylist.add", "com.mandrill.sync.denylist.change", "com.mandrill.sync.denylist.remove"},
		"inbound":   {"com.mandrill.inbound"},
	} {
		if got := eventtypes.Subscribed(name); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// Every family has a row, or its events would have no type.
func TestEveryFamilyHasARow(t *testing.T) {
	t.Parallel()
	for _, family := range []eventtypes.Family{eventtypes.Message, eventtypes.Sync, eventtypes.Inbound, eventtypes.Unknown} {
		if !slices.ContainsFunc(eventtypes.Table, func(row eventtypes.EventType) bool { return row.Family == family }) {
			t.Errorf("the family %s has no row", family)
		}
	}
}

func TestSuggest(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"hard_bouce": "hard_bounce", "sof_bounce": "soft_bounce", "opne": "", "opem": "open", "clik": "click", "delivred": "delivered", "alowlist": "allowlist",
		"send": "", "inbund": "", "sms_sent": "", "x": "", "": "", "delivered": "",
	} {
		if got := eventtypes.Suggest(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
