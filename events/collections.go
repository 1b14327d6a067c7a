package events

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
)

// member is a name and a value of an object.
type member struct {
	name  string
	value json.RawMessage
}

// object has the members of an object in the order of their names' first places.
type object []member

// index returns the place of a member, or -1.
func (o object) index(name string) int {
	return slices.IndexFunc(o, func(m member) bool { return m.name == name })
}

// elementsOf returns the elements of a list. PHP makes an object of a list with gaps: its values are the elements.
func elementsOf(data []byte) (elements []json.RawMessage, ok bool, err error) {
	switch data[0] {
	case 'n':
		return nil, true, nil
	case '[':
		return itemsOf(data), true, nil
	case '{':
		members, err := membersOf(data)
		for _, m := range members {
			elements = append(elements, m.value)
		}
		return elements, true, err
	}
	return nil, false, nil
}

// eachElement decodes the elements of a list.
func eachElement(data []byte, decode func(element []byte) error) error {
	elements, ok, err := elementsOf(data)
	if err != nil {
		return err
	}
	if !ok {
		return errList
	}
	for i, element := range elements {
		if err := decode(element); err != nil {
			return within("["+strconv.Itoa(i)+"]", err)
		}
	}
	return nil
}

// decodeTexts decodes a list of texts. PHP may make a text of a list with one element.
func decodeTexts(data []byte, to *[]string) error {
	if text, err := scalar(data); err == nil {
		if text != "" {
			*to = []string{text}
		}
		return nil
	}
	return eachElement(data, func(element []byte) error {
		text, err := scalar(element)
		if err == nil && string(element) != "null" {
			*to = append(*to, text)
		}
		return err
	})
}

// decodeAddresses decodes a list of addresses, or one address.
func decodeAddresses(data []byte, to *[]Address) error {
	if text, err := scalar(data); err == nil {
		if text != "" {
			*to = []Address{{Email: text}}
		}
		return nil
	}
	return eachElement(data, func(element []byte) error {
		one, err := address(element)
		if err == nil && one != (Address{}) {
			*to = append(*to, one)
		}
		return err
	})
}

// address decodes a pair of address and name, or an address.
func address(data []byte) (Address, error) {
	if text, err := scalar(data); err == nil {
		return Address{Email: text}, nil
	}
	elements, ok, err := elementsOf(data)
	if err != nil || !ok || len(elements) > 2 {
		return Address{}, errPair
	}
	var parts [2]string
	for i, element := range elements {
		if parts[i], err = scalar(element); err != nil {
			return Address{}, errPair
		}
	}
	return Address{parts[0], parts[1]}, nil
}

// entriesOf returns the entries of a map. PHP makes a list of a map whose names are the numbers from zero.
func entriesOf(data []byte) (object, error) {
	switch data[0] {
	case 'n':
		return nil, nil
	case '{':
		return membersOf(data)
	case '[':
		elements, _, err := elementsOf(data)
		var entries object
		for i, element := range elements {
			entries = append(entries, member{strconv.Itoa(i), element})
		}
		return entries, err
	}
	return nil, errMap
}

func decodeMetadata(data []byte, to *Metadata) error {
	entries, err := entriesOf(data)
	for _, entry := range entries {
		decoder := json.NewDecoder(bytes.NewReader(entry.value))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			return err
		}
		if *to == nil {
			*to = Metadata{}
		}
		(*to)[entry.name] = value
	}
	return err
}

func decodeHeaders(data []byte, to *Headers) error {
	entries, err := entriesOf(data)
	for i, entry := range entries {
		var values []string
		if err := decodeTexts(entry.value, &values); err != nil {
			return within("["+strconv.Itoa(i)+"]", err)
		}
		if *to == nil {
			*to = Headers{}
		}
		(*to)[entry.name] = values
	}
	return err
}

// decodeMap decodes attachments. In a list they have their names in themselves.
func decodeMap(data []byte, target reflect.Value) error {
	entries, err := entriesOf(data)
	if err != nil {
		return err
	}
	for i, entry := range entries {
		if isNothing(entry.value) {
			continue
		}
		value := reflect.New(target.Type().Elem()).Elem()
		if err := decode(entry.value, value, field{}); err != nil {
			return within("["+strconv.Itoa(i)+"]", err)
		}
		if target.IsNil() {
			target.Set(reflect.MakeMap(target.Type()))
		}
		name := entry.name
		if own := value.FieldByName("Name").String(); data[0] == '[' && own != "" {
			name = own
		}
		for target.MapIndex(reflect.ValueOf(name)).IsValid() {
			name += "+"
		}
		target.SetMapIndex(reflect.ValueOf(name), value)
	}
	return nil
}

func compact(data []byte) json.RawMessage {
	var out bytes.Buffer
	if json.Compact(&out, data) != nil {
		return data
	}
	return out.Bytes()
}
