package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
)

var (
	errText   = errors.New("want a string, a number or null")
	errFlag   = errors.New("want a boolean, a string, a number or null")
	errObject = errors.New("want an object, [] or null")
	errMap    = errors.New("want an object, a list or null")
	errList   = errors.New("want a list, an object or null")
	errPair   = errors.New("want an address, or a pair of address and name")
)

// decode decodes valid UTF-8 into a field of a type. It is the one place that says what is tolerated: the JSON Schemas and the npm
// package say the same, which tests compare.
func decode(data []byte, target reflect.Value, f field) error {
	switch to := target.Addr().Interface().(type) {
	case *Timestamp:
		return to.UnmarshalJSON(data)
	case *Address:
		one, err := address(data)
		*to = one
		return err
	case *Metadata:
		return decodeMetadata(data, to)
	case *Headers:
		return decodeHeaders(data, to)
	case *List:
		return eachElement(data, func(element []byte) error {
			*to = append(*to, compact(element))
			return nil
		})
	case *[]string:
		return decodeTexts(data, to)
	case *[]Address:
		return decodeAddresses(data, to)
	}
	switch target.Kind() {
	case reflect.Pointer:
		return decodePointer(data, target, f)
	case reflect.Struct:
		return decodeStruct(data, target)
	case reflect.Slice:
		return eachElement(data, func(element []byte) error {
			if isNothing(element) {
				return nil
			}
			value := reflect.New(target.Type().Elem()).Elem()
			target.Set(reflect.Append(target, value))
			return decode(element, target.Index(target.Len()-1), field{})
		})
	case reflect.Map:
		return decodeMap(data, target)
	default:
		return decodeScalar(data, target)
	}
}

// decodeScalar decodes texts, numbers and flags.
func decodeScalar(data []byte, target reflect.Value) error {
	if target.Kind() == reflect.Bool {
		if literal := string(data); literal == "true" || literal == "false" {
			target.SetBool(literal == "true")
			return nil
		}
	}
	text, err := scalar(data)
	if err != nil && target.Kind() == reflect.Bool {
		return errFlag
	}
	if err != nil {
		return err
	}
	switch target.Kind() {
	case reflect.Bool:
		number, ok := finite(text)
		target.SetBool(text != "" && text != "false" && (!ok || number != 0))
	case reflect.Int64:
		if number, ok := finite(text); ok && number == math.Trunc(number) && math.Abs(number) <= 1<<53 {
			target.SetInt(int64(number))
		}
	case reflect.Float64:
		if number, ok := finite(text); ok {
			target.SetFloat(number)
		}
	default:
		target.SetString(text)
	}
	return nil
}

// finite returns a text as a number.
func finite(text string) (float64, bool) {
	if !json.Valid([]byte(text)) {
		return 0, false
	}
	number, err := strconv.ParseFloat(text, 64)
	return number, err == nil
}

// scalar returns a string, or the digits of a number. Null is an empty string.
func scalar(data []byte) (string, error) {
	switch c := data[0]; {
	case c == '"':
		return text(data)
	case c == '-' || '0' <= c && c <= '9':
		return string(data), nil
	case c == 'n':
		return "", nil
	}
	return "", errText
}

// isNothing reports whether PHP may mean no value.
func isNothing(data []byte) bool {
	return string(data) == "null" || len(data) > 1 && (data[0] == '[' || data[0] == '{') && len(bytes.TrimSpace(data[1:len(data)-1])) == 0
}

// decodePointer leaves nil what has no value.
func decodePointer(data []byte, target reflect.Value, f field) error {
	value := reflect.New(target.Type().Elem())
	element := value.Elem()
	if element.Kind() != reflect.Struct {
		err := decodeScalar(data, element)
		text, notText := scalar(data) // true and false are no text
		if _, number := finite(text); err == nil && (notText != nil || text != "" && (number || element.Kind() == reflect.Bool)) {
			target.Set(value)
		}
		return err
	}
	if isNothing(data) {
		return nil
	}
	if text, err := scalar(data); f.orText && err == nil {
		if text != "" {
			element.Field(0).SetString(text)
			target.Set(value)
		}
		return nil
	}
	target.Set(value)
	return decodeStruct(data, element)
}

// decodeStruct decodes an object. Null and [] have no fields.
func decodeStruct(data []byte, target reflect.Value) error {
	if data[0] != '{' {
		if isNothing(data) {
			return nil
		}
		return errObject
	}
	members, err := membersOf(data)
	if err != nil {
		return err
	}
	used := make([]bool, len(members))
	for _, f := range fieldsOf(target.Type()) {
		if err := members.decodeField(target.FieldByIndex(f.index), f, used); err != nil {
			return err
		}
	}
	var extra Extra
	for i, m := range members {
		if used[i] {
			continue
		}
		if extra == nil {
			extra = Extra{}
			target.FieldByName("Extra").Set(reflect.ValueOf(extra))
		}
		extra[m.name] = compact(m.value)
	}
	return nil
}

// decodeField decodes a field by its name, and without a value there by its alias. What has both keeps the alias in Extra.
func (o object) decodeField(target reflect.Value, f field, used []bool) error {
	for _, name := range [...]string{f.name, f.alias} {
		place := o.index(name)
		if place < 0 || name == "" {
			continue
		}
		value, second := target, !target.IsZero()
		if second {
			value = reflect.New(target.Type()).Elem()
		}
		if err := decode(o[place].value, value, f); err != nil {
			return within("."+name, err)
		}
		used[place] = !second || value.IsZero()
	}
	return nil
}

// within adds where an error is.
func within(path string, err error) error {
	if text := err.Error(); text[0] == '.' || text[0] == '[' {
		return errors.New(path + text)
	}
	return fmt.Errorf("%s: %w", path, err)
}
