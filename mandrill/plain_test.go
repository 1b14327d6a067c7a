package mandrill

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

// ParseEvent is fast: it scans an event once, eight bytes of a string at a time, and copies its texts together. The plain version below
// takes one step after the other, and must find the same in whatever arrives.
func FuzzParseEventIsThePlainOne(f *testing.F) {
	for _, sample := range samples(f) {
		f.Add(sample)
	}
	for _, text := range []string{
		`{"event":"send","_id":"a","msg":{"_id":"b","email":"\u0061@x","tags":[1,"b"],"subaccount":7,"template":null},"ts":"1.5"}`,
		`{"msg":{"_id":"b"},"_id":null,"msg":{"email":1e5},"msg":[],"event":"open","\u0065vent":"click"}`,
		`{"type":"blacklist","action":"add","reject":{"email":"a@x","subaccount":""},"entry":{"email":"","subaccount":"b"}}`,
		`{"event":"send","msg":{"tags":[],"email":"1234567\"890"}}`, `{"event":"send","msg":{"tags":[[1]],"a":{"b":[{}]}}} `, `{"event":"sms","msg":{`,
		"{\"event\":\"send\",\"_id\":\"12345678\x1f\"}", "{\"event\":\"send\",\"_id\":\"1234567\xff\x80\"}", `{"":"","event":""}`, `{"event":`, `{`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if want, got := plainParse(raw), ParseEvent(raw); !reflect.DeepEqual(want, got) {
			t.Errorf("%q:\nplain %+v\nfast  %+v", raw, want, got)
		}
	})
}

// samples are those of package mandrilltest, which imports this one.
func samples(f *testing.F) (list [][]byte) {
	f.Helper()
	files, err := filepath.Glob("mandrilltest/samples/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no samples: ", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		list = append(list, data)
	}
	return list
}

// member is a key and a value of an object. The value is valid JSON, as it was sent.
type member struct {
	key   string
	value []byte
}

// plainMembers calls yield for each member of the object in data, in order. It fails if data is not exactly one valid JSON
// object; by then it has yielded the members before the fault.
func plainMembers(data []byte, yield func(member)) error {
	i := skipSpace(data, 0)
	if i == len(data) || data[i] != '{' {
		return errJSON
	}
	i = skipSpace(data, i+1)
	for first := true; ; first = false {
		if i == len(data) {
			return errTruncated
		}
		if data[i] == '}' && first {
			break
		}
		keyEnd, err := plainString(data, i)
		if err != nil {
			return err
		}
		key := plainUnquote(data[i:keyEnd])
		i = skipSpace(data, keyEnd)
		if i == len(data) || data[i] != ':' {
			return errJSON
		}
		start := skipSpace(data, i+1)
		end, err := plainValue(data, start)
		if err != nil {
			return err
		}
		yield(member{key, data[start:end]})
		i = skipSpace(data, end)
		if i == len(data) {
			return errTruncated
		}
		if data[i] == '}' {
			break
		}
		if data[i] != ',' {
			return errJSON
		}
		i = skipSpace(data, i+1)
	}
	if skipSpace(data, i+1) != len(data) {
		return errJSON
	}
	return nil
}

// plainParse classifies one element of a batch. It never fails: an element that is not valid JSON, is not an object, or has
// no usable name is of KindUnknown. The last one of a repeated key counts.
func plainParse(raw []byte) Event {
	event := Event{Raw: raw}
	var name, list string
	err := plainMembers(raw, func(m member) {
		switch m.key {
		case "event":
			name = plainText(m.value)
		case "type":
			list = plainText(m.value)
		case "action":
			event.Action = plainText(m.value)
		case "ts":
			event.Time = timestamp(m.value)
		case "_id":
			event.MessageID = plainText(m.value)
		case "msg":
			plainMessage(&event, m.value)
		case "reject", "entry":
			plainEntry(&event, m.value)
		}
	})
	if err != nil {
		return Event{Raw: raw}
	}
	switch {
	case name == "inbound":
		event.Kind, event.Name, event.Action = KindInbound, name, ""
	case usableName(name):
		event.Kind, event.Name, event.Action = KindMessage, name, ""
	case syncLists[list] != "" && usableName(event.Action):
		event.Kind, event.Name = KindSync, syncLists[list]
	default:
		event.Action = ""
	}
	return event
}

// plainMessage reads msg. It is an object; without a message it is [], null or missing.
func plainMessage(e *Event, msg []byte) {
	_ = plainMembers(msg, func(m member) {
		switch m.key {
		case "_id":
			if e.MessageID == "" {
				e.MessageID = plainText(m.value)
			}
		case "email":
			e.Email = plainText(m.value)
		case "subaccount":
			e.Subaccount = plainText(m.value)
		case "template":
			e.Template = plainText(m.value)
		case "tags":
			e.Tag = plainFirst(m.value)
		}
	})
}

// plainEntry reads the entry of a sync event. It is also called with the reject of a message event, which sets nothing
// because it has no email.
func plainEntry(e *Event, entry []byte) {
	_ = plainMembers(entry, func(m member) {
		switch m.key {
		case "email":
			if email := plainText(m.value); email != "" {
				e.Email = email
			}
		case "subaccount":
			if subaccount := plainText(m.value); subaccount != "" {
				e.Subaccount = subaccount
			}
		}
	})
}

// plainText returns the string or number that value begins with as text, anything else as "".
func plainText(value []byte) string {
	switch c := value[0]; {
	case c == '"':
		end, err := plainString(value, 0)
		if err != nil {
			return ""
		}
		return plainUnquote(value[:end])
	case c == '-' || '0' <= c && c <= '9':
		end, err := validNumber(value, 0)
		if err != nil {
			return ""
		}
		return string(value[:end])
	}
	return ""
}

// plainFirst returns the first element of an array, or the value itself: PHP may turn a list of one into a scalar.
func plainFirst(value []byte) string {
	if value[0] != '[' {
		return plainText(value)
	}
	i := skipSpace(value, 1)
	if value[i] == ']' { // value is valid JSON
		return ""
	}
	return plainText(value[i:])
}

// plainValue returns the index after the valid JSON value that begins at data[i]. It keeps its own stack, so that a level of
// nesting takes one byte and not a call.
func plainValue(data []byte, i int) (int, error) {
	var open []byte // the closing brackets to come
	var err error
	for {
		// a value begins here
		i = skipSpace(data, i)
		if i >= len(data) {
			return 0, errTruncated
		}
		switch c := data[i]; c {
		case '{', '[':
			closing := c + 2 // '{'+2 is '}', '['+2 is ']'
			i = skipSpace(data, i+1)
			if i < len(data) && data[i] == closing {
				i++
				break
			}
			open = append(open, closing)
			if c == '{' {
				if i, err = plainKey(data, i); err != nil {
					return 0, err
				}
			}
			continue
		default:
			if i, err = plainScalar(data, i); err != nil {
				return 0, err
			}
		}
		// a value ended here: skip closing brackets, continue after a comma
		for {
			if len(open) == 0 {
				return i, nil
			}
			i = skipSpace(data, i)
			if i >= len(data) {
				return 0, errTruncated
			}
			if data[i] == open[len(open)-1] {
				open = open[:len(open)-1]
				i++
				continue
			}
			break
		}
		if data[i] != ',' {
			return 0, errJSON
		}
		i++
		if open[len(open)-1] == '}' {
			if i, err = plainKey(data, skipSpace(data, i)); err != nil {
				return 0, err
			}
		}
	}
}

// plainKey returns the index after the key and colon that begin at data[i].
func plainKey(data []byte, i int) (int, error) {
	i, err := plainString(data, i)
	if err != nil {
		return 0, err
	}
	i = skipSpace(data, i)
	if i >= len(data) || data[i] != ':' {
		return 0, errJSON
	}
	return i + 1, nil
}

func plainScalar(data []byte, i int) (int, error) {
	switch c := data[i]; {
	case c == '"':
		return plainString(data, i)
	case c == '-' || '0' <= c && c <= '9':
		return validNumber(data, i)
	}
	for _, literal := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(data[i:], []byte(literal)) {
			return i + len(literal), nil
		}
	}
	return 0, errJSON
}

func plainString(data []byte, i int) (int, error) {
	if i >= len(data) || data[i] != '"' {
		return 0, errJSON
	}
	for i++; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			return i + 1, nil
		case c < ' ':
			return 0, errJSON
		case c == '\\':
			i++
			if i == len(data) {
				return 0, errTruncated
			}
			switch data[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if _, ok := hex4(data, i+1); !ok {
					return 0, errJSON
				}
				i += 4
			default:
				return 0, errJSON
			}
		}
	}
	return 0, errTruncated
}

// plainUnquote decodes a valid JSON string. Invalid UTF-8 and lone surrogates become U+FFFD.
func plainUnquote(quoted []byte) string {
	s := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(s, '\\') < 0 {
		if utf8.Valid(s) {
			return string(s)
		}
		return string(bytes.ToValidUTF8(s, []byte("\uFFFD")))
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		i++
		switch s[i] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, _ := hex4(s, i+1)
			i += 4
			if utf16.IsSurrogate(r) {
				low, ok := rune(0), false
				if i+2 < len(s) && s[i+1] == '\\' && s[i+2] == 'u' {
					low, ok = hex4(s, i+3)
				}
				if pair := utf16.DecodeRune(r, low); ok && pair != utf8.RuneError {
					r = pair
					i += 6
				} else {
					r = utf8.RuneError
				}
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, s[i])
		}
	}
	return string(bytes.ToValidUTF8(out, []byte("\uFFFD")))
}
