package mandrilltest

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

//go:embed samples/*.json
var sampleFiles embed.FS

// Samples returns the sample events, indented as in their files, by file name without ".json". The data is invented;
// the structure and its irregularities are Mandrill's.
func Samples() map[string][]byte {
	samples := map[string][]byte{}
	files, err := fs.Glob(sampleFiles, "samples/*.json")
	if err != nil {
		panic(err) // the pattern is constant
	}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".json")
		samples[name] = readSample(name)
	}
	return samples
}

func readSample(name string) []byte {
	data, err := sampleFiles.ReadFile("samples/" + name + ".json")
	if err != nil {
		panic(err) // the file is embedded
	}
	return data
}

// kind is a kind of event that the emulator can generate.
type kind struct {
	name         string // as in Emit
	sample       string // the sample it is made from
	subscription string // the wire name of the event a webhook subscribes to; "" for inbound
}

var kinds = []kind{
	{"send", "send", "send"},
	{"deferral", "deferral", "deferral"},
	{"hard_bounce", "hard_bounce", "hard_bounce"},
	{"soft_bounce", "soft_bounce", "soft_bounce"},
	{"delivered", "delivered", "delivered"},
	{"open", "open", "open"},
	{"click", "click", "click"},
	{"spam", "spam", "spam"},
	{"unsub", "unsub", "unsub"},
	{"reject", "reject", "reject"},
	{"denylist_add", "sync-blacklist-add", "blacklist"},
	{"denylist_change", "sync-blacklist-change", "blacklist"},
	{"denylist_remove", "sync-blacklist-remove", "blacklist"},
	{"allowlist_add", "sync-whitelist-add", "whitelist"},
	{"allowlist_remove", "sync-whitelist-remove", "whitelist"},
	{"inbound", "inbound", ""},
}

// Kinds returns the names of all kinds of event that Emit knows.
func Kinds() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return names
}

func kindNamed(name string) (kind, error) {
	for _, k := range kinds {
		if k.name == name {
			return k, nil
		}
	}
	return kind{}, fmt.Errorf("no kind of event is named %q; there are %s", name, strings.Join(Kinds(), ", "))
}

// sampleMessageID is the message id in the sample files.
const sampleMessageID = "7b1f0c55a3e24f0db2c9d6e8f4a10b37"

var timestampField = regexp.MustCompile(`"ts":(\d+)`)

// generate returns an event of the kind for a message, encoded as PHP encodes JSON. It happens at now; the other times of
// the sample keep their distance from it.
func (k kind) generate(messageID string, now time.Time) []byte {
	event := phpJSON(readSample(k.sample))
	event = bytes.ReplaceAll(event, []byte(sampleMessageID), []byte(messageID))
	// The event's own ts is the last one in every sample but inbound's, where it is the only one.
	all := timestampField.FindAllSubmatch(event, -1)
	eventTime, err := strconv.ParseInt(string(all[len(all)-1][1]), 10, 64)
	if err != nil {
		panic(err) // the pattern admits digits only
	}
	shift := now.Unix() - eventTime
	return timestampField.ReplaceAllFunc(event, func(field []byte) []byte {
		seconds, err := strconv.ParseInt(string(field[len(`"ts":`):]), 10, 64)
		if err != nil {
			panic(err)
		}
		return strconv.AppendInt([]byte(`"ts":`), seconds+shift, 10)
	})
}

// phpJSON rewrites JSON as PHP's json_encode writes it: compact, / as \/, everything beyond ASCII as \u.
func phpJSON(data []byte) []byte {
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		panic(err) // called with samples, all of which a test encodes, and with the package's own JSON
	}
	var out []byte
	for _, r := range compact.String() {
		switch {
		case r == '/':
			out = append(out, `\/`...)
		case r < 0x80:
			out = append(out, byte(r)) //nolint:gosec // ASCII
		default:
			for _, unit := range utf16.Encode([]rune{r}) {
				out = fmt.Appendf(out, `\u%04x`, unit)
			}
		}
	}
	return out
}
