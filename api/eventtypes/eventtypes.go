// Package eventtypes is the table of the CloudEvents types that Mandrill's events become. The receiver maps events by
// it, the operator announces the types in an object's status, and make generate writes docs/events.md and the
// annotation of the CRD that Knative's event registry reads.
package eventtypes

import (
	"fmt"
	"strings"
)

// Family is the part of Mandrill that an event comes from.
type Family string

// The families of events.
const (
	Message Family = "message" // something happened to a message
	Sync    Family = "sync"    // the allowlist or denylist changed
	Inbound Family = "inbound" // mail arrived at an inbound route
	Unknown Family = "unknown" // not recognised, delivered anyway
	Alert   Family = "alert"   // not of Mandrill: the operator reports about the webhook, see Alerts
)

// EventType is one row of the table.
type EventType struct {
	Family       Family
	Name, Action string // as in mandrill.Event; a row without a Name stands for all other events of its family
	Type         string // of the CloudEvent; a row without a Name appends the event's name (and action)
	Description  string
}

// IsPrefix reports whether Type is completed by the event's name, so that the row stands for any number of types.
func (t EventType) IsPrefix() bool { return strings.HasSuffix(t.Type, ".") }

// SchemaBase is the beginning of the URLs of all JSON Schemas. A change of a schema that makes it refuse what it accepted, or gives a
// field another meaning, needs a new version.
const SchemaBase = "https://mandrill-operator.io/schemas/v1/"

// SchemaFile is the name of the file that has the JSON Schema of the data.
func (t EventType) SchemaFile() string { return strings.TrimSuffix(t.Type, ".") + ".json" }

// Schema is the URL of the JSON Schema of the data, which is the attribute dataschema.
func (t EventType) Schema() string { return SchemaBase + t.SchemaFile() }

// NormalizedSchema is the URL of the JSON Schema of the normal form of the data.
func (t EventType) NormalizedSchema() string { return SchemaBase + "normalized/" + t.SchemaFile() }

// Table has every event that Mandrill documents, and one row for each family that Mandrill may add events to.
var Table = []EventType{
	{Message, "send", "", "com.mandrill.message.send", "Mandrill accepted the message"},
	{Message, "delivered", "", "com.mandrill.message.delivered", "the recipient's server accepted the message"},
	{Message, "deferral", "", "com.mandrill.message.deferral", "the recipient's server asked to try later"},
	{Message, "hard_bounce", "", "com.mandrill.message.hard_bounce", "the message cannot be delivered"},
	{Message, "soft_bounce", "", "com.mandrill.message.soft_bounce", "the message was not delivered this time"},
	{Message, "open", "", "com.mandrill.message.open", "the recipient opened the message"},
	{Message, "click", "", "com.mandrill.message.click", "the recipient followed a link"},
	{Message, "spam", "", "com.mandrill.message.spam", "the recipient reported spam"},
	{Message, "unsub", "", "com.mandrill.message.unsub", "the recipient unsubscribed"},
	{Message, "reject", "", "com.mandrill.message.reject", "Mandrill refused to send the message"},
	{Message, "", "", "com.mandrill.message.", "any event that Mandrill may add, by its name"},
	{Sync, "allowlist", "add", "com.mandrill.sync.allowlist.add", "an address was added to the allowlist"},
	{Sync, "allowlist", "remove", "com.mandrill.sync.allowlist.remove", "an address was removed from the allowlist"},
	{Sync, "denylist", "add", "com.mandrill.sync.denylist.add", "an address was added to the denylist"},
	{Sync, "denylist", "change", "com.mandrill.sync.denylist.change", "an entry of the denylist changed"},
	{Sync, "denylist", "remove", "com.mandrill.sync.denylist.remove", "an address was removed from the denylist"},
	{Sync, "", "", "com.mandrill.sync.", "any change of a list that Mandrill may add, by its action"},
	{Inbound, "inbound", "", "com.mandrill.inbound", "mail arrived at an inbound route"},
	{Unknown, "", "", "com.mandrill.unknown", "Mandrill sent something that has no name"},
}

// Alerts are what the operator sends to spec.alertSink. The sink of a webhook does not get them, so they are not in Table.
var Alerts = []EventType{
	{Alert, "", "", "io.mandrill-operator.webhook.sink_failing", "the sink has accepted nothing for a minute; again every hour"},
	{Alert, "", "", "io.mandrill-operator.webhook.sink_recovered", "the sink accepts events again"},
	{Alert, "", "", "io.mandrill-operator.webhook.dead_lettered", "events became dead letters; at most every hour"},
	{Alert, "", "", "io.mandrill-operator.webhook.disabled", "Mandrill has disabled the webhook, and the operator enables it again"},
	{Alert, "", "", "io.mandrill-operator.webhook.silent", "no events arrive although `spec.expectEvents` expects them"},
}

type key struct {
	family       Family
	name, action string
}

var index = func() map[key]string {
	types := map[key]string{}
	for _, row := range Table {
		types[key{row.Family, row.Name, row.Action}] = row.Type
	}
	return types
}()

// Of returns the type of an event, and the same as a metric label: from a closed set, though events are not.
func Of(family Family, name, action string) (ceType, label string) {
	if known, ok := index[key{family, name, action}]; ok {
		return known, known
	}
	prefix := index[key{family: family}]
	ceType = prefix + name
	if action != "" {
		ceType += "." + action
	}
	return ceType, prefix + "*"
}

// Subscribed returns the types that a subscription to an event brings: several for a list, which changes in several
// ways. A name that is not in the table is that of a message event, as any that Mandrill may add.
func Subscribed(name string) []string {
	var types []string
	for _, row := range Table {
		if row.Name == name {
			types = append(types, row.Type)
		}
	}
	if types == nil {
		ceType, _ := Of(Message, name, "")
		types = []string{ceType}
	}
	return types
}

// maxEdits is how many letters a misspelt name may differ in from the one that was meant, which must be twice as long.
const maxEdits = 2

// Suggest returns the event that a name that is not in the table may mean, or nothing.
func Suggest(name string) string {
	best, least := "", maxEdits+1
	for _, row := range Table {
		if row.Name == name {
			return ""
		}
		if edits := distance(name, row.Name); row.Family != Inbound && edits < least && 2*edits < len(row.Name) {
			best, least = row.Name, edits
		}
	}
	return best
}

// DidYouMean suggests names for those that are not in the table, nothing if none is alike.
func DidYouMean(names []string) string {
	var text strings.Builder
	for _, name := range names {
		if known := Suggest(name); known != "" {
			fmt.Fprintf(&text, "; %s is not an event that is known: did you mean %s?", name, known)
		}
	}
	return text.String()
}

// distance is how many letters must be changed, added or removed to make one word another.
func distance(a, b string) int {
	previous := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := range len(a) {
		current := []int{i + 1}
		for j := range len(b) {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			current = append(current, min(previous[j]+change, previous[j+1]+1, current[j]+1))
		}
		previous = current
	}
	return previous[len(b)]
}
