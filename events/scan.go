package events

import (
	"bytes"
	"encoding/json"
)

// The functions here split valid JSON. They copy nothing, unlike encoding/json, which also checks the bytes again at each level.

// smallObject is how many members an object may have to be searched without an index.
const smallObject = 32

// membersOf splits an object. The last one of a repeated name counts.
func membersOf(data []byte) (object, error) {
	var members object
	var places map[string]int
	at := space(data, 1)
	for at < len(data) && data[at] != '}' {
		end := valueEnd(data, at)
		name, err := text(data[at:end])
		if err != nil {
			return nil, err
		}
		value := space(data, space(data, end)+1) // behind the colon
		end = valueEnd(data, value)
		members, places = members.with(member{name, data[value:end]}, places)
		at = next(data, end)
	}
	return members, nil
}

// with adds a member, or replaces the value of the one with its name. places is the index of a large object.
func (o object) with(m member, places map[string]int) (object, map[string]int) {
	if len(o) == smallObject {
		places = make(map[string]int, 2*smallObject)
		for i, each := range o {
			places[each.name] = i
		}
	}
	place := -1
	if places == nil {
		place = o.index(m.name)
	} else if known, ok := places[m.name]; ok {
		place = known
	}
	if place >= 0 {
		o[place].value = m.value
		return o, places
	}
	if places != nil {
		places[m.name] = len(o)
	}
	return append(o, m), places
}

// itemsOf splits a list.
func itemsOf(data []byte) []json.RawMessage {
	var items []json.RawMessage
	at := space(data, 1)
	for at < len(data) && data[at] != ']' {
		end := valueEnd(data, at)
		items = append(items, data[at:end])
		at = next(data, end)
	}
	return items
}

// space returns where something follows.
func space(data []byte, at int) int {
	for at < len(data) && (data[at] == ' ' || data[at] == '\n' || data[at] == '\t' || data[at] == '\r') {
		at++
	}
	return at
}

// next returns where the next element begins behind one, or the end of the list or object.
func next(data []byte, at int) int {
	if at = space(data, at); at < len(data) && data[at] == ',' {
		at = space(data, at+1)
	}
	return at
}

// valueEnd returns where a value ends.
func valueEnd(data []byte, at int) int {
	depth := 0
	for i := at; i < len(data); i++ {
		switch data[i] {
		case '"':
			i = stringEnd(data, i) - 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth == 0 {
				return literalEnd(data, i)
			}
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(data)
}

// literalEnd returns where a number, true, false or null ends.
func literalEnd(data []byte, at int) int {
	if n := bytes.IndexAny(data[at:], ",]}: \n\t\r"); n >= 0 {
		return at + n
	}
	return len(data)
}

// stringEnd returns where a string ends.
func stringEnd(data []byte, at int) int {
	for i := at + 1; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(data)
}

// text decodes a string.
func text(data []byte) (string, error) {
	if len(data) > 1 && bytes.IndexByte(data, '\\') < 0 {
		return string(data[1 : len(data)-1]), nil
	}
	var decoded string
	err := json.Unmarshal(data, &decoded)
	return decoded, err
}
