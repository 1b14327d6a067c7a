package mandrill

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// This file is a JSON scanner that only finds where values begin and end. encoding/json refuses a whole batch if one event
// is nested more than 10,000 levels deep, and one unusual event must not fail its batch.

var (
	errJSON      = errors.New("not valid JSON")
	errTruncated = errors.New("JSON ends early")
)

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// stringEnd returns the index after the string that begins at data[i]. It only examines quotes and backslashes.
func stringEnd(data []byte, i int) (int, error) {
	for i++; i < len(data); {
		quote := bytes.IndexByte(data[i:], '"')
		if quote < 0 {
			return 0, errTruncated
		}
		end := i + quote
		backslashes := 0
		for end-backslashes > i && data[end-backslashes-1] == '\\' {
			backslashes++
		}
		i = end + 1
		if backslashes%2 == 0 {
			return i, nil
		}
	}
	return 0, errTruncated
}

// nesting is the change of depth that a byte outside of strings causes.
var nesting = [256]int8{'{': 1, '[': 1, '}': -1, ']': -1}

// skipElement returns the index of the comma or bracket that ends the array element at data[i]. It tracks strings and
// brackets, and does not validate the element.
func skipElement(data []byte, i int) (int, error) {
	for depth := 0; i < len(data); i++ {
		c := data[i]
		if c == '"' {
			quote := bytes.IndexByte(data[i+1:], '"')
			if quote >= 0 && data[i+quote] != '\\' { // most strings
				i += quote + 1
				continue
			}
			end, err := stringEnd(data, i)
			if err != nil {
				return 0, err
			}
			i = end - 1
			continue
		}
		if depth == 0 {
			switch c {
			case ',', ']':
				return i, nil
			case '}':
				return 0, errJSON
			}
		}
		depth += int(nesting[c])
	}
	return 0, errTruncated
}

// wholeObject is like object for data that is exactly one object.
func wholeObject(data []byte, visit func(key []byte, at int) (end int, err error)) error {
	i := skipSpace(data, 0)
	if i == len(data) || data[i] != '{' {
		return errJSON
	}
	end, err := object(data, i, visit)
	if err == nil && skipSpace(data, end) != len(data) {
		return errJSON
	}
	return err
}

// object calls visit for each member of the object that begins at data[i], in order, with the index at which the value begins. Visit
// validates the value and returns the index after it. Object returns the index after the object. It fails if the object is not valid JSON;
// by then it has visited the members before the fault. A key with escapes is decoded, others are as they were sent.
func object(data []byte, i int, visit func(key []byte, at int) (end int, err error)) (int, error) {
	i = skipSpace(data, i+1)
	if i < len(data) && data[i] == '}' {
		return i + 1, nil
	}
	for {
		keyEnd, err := validString(data, i)
		if err != nil {
			return 0, err
		}
		key := data[i+1 : keyEnd-1]
		if bytes.IndexByte(key, '\\') >= 0 {
			key = appendUnquoted(nil, data[i:keyEnd])
		}
		i = skipSpace(data, keyEnd)
		if i == len(data) || data[i] != ':' {
			return 0, errJSON
		}
		end, err := visit(key, skipSpace(data, i+1))
		if err != nil {
			return 0, err
		}
		i = skipSpace(data, end)
		if i == len(data) {
			return 0, errTruncated
		}
		if data[i] == '}' {
			return i + 1, nil
		}
		if data[i] != ',' {
			return 0, errJSON
		}
		i = skipSpace(data, i+1)
	}
}

// members calls yield for each member of the object in data, in order. The value is valid JSON, as it was sent. It fails as object does.
func members(data []byte, yield func(key, value []byte)) error {
	return wholeObject(data, func(key []byte, at int) (int, error) {
		end, err := validValue(data, at)
		if err == nil {
			yield(key, data[at:end])
		}
		return end, err
	})
}

// validValue returns the index after the valid JSON value that begins at data[i]. It keeps its own stack, so that a level of
// nesting takes one byte and not a call.
func validValue(data []byte, i int) (int, error) {
	var stack [32]byte
	open := stack[:0] // the closing brackets to come
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
				if i, err = validKey(data, i); err != nil {
					return 0, err
				}
			}
			continue
		default:
			if i, err = validScalar(data, i); err != nil {
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
			if i, err = validKey(data, skipSpace(data, i)); err != nil {
				return 0, err
			}
		}
	}
}

// validKey returns the index after the key and colon that begin at data[i].
func validKey(data []byte, i int) (int, error) {
	i, err := validString(data, i)
	if err != nil {
		return 0, err
	}
	i = skipSpace(data, i)
	if i >= len(data) || data[i] != ':' {
		return 0, errJSON
	}
	return i + 1, nil
}

func validScalar(data []byte, i int) (int, error) {
	switch c := data[i]; {
	case c == '"':
		return validString(data, i)
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

func validString(data []byte, i int) (int, error) {
	if i >= len(data) || data[i] != '"' {
		return 0, errJSON
	}
	for i++; i < len(data); i++ {
		if i += plainLength(data[i:]); i == len(data) {
			break
		}
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

// plainLength returns how many of the first bytes are neither a quote, a backslash nor a control character. It examines eight at a time,
// and the last ones not at all. The bits of special are exact up to the first byte that is one of these.
func plainLength(data []byte) int {
	const low, high = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(data); i += 8 {
		word := binary.LittleEndian.Uint64(data[i:])
		quote, backslash := word^low*'"', word^low*'\\'
		special := ((word-low*' ')&^word | (quote-low)&^quote | (backslash-low)&^backslash) & high
		if special != 0 {
			return i + bits.TrailingZeros64(special)/8
		}
	}
	return i
}

func validNumber(data []byte, i int) (int, error) {
	if data[i] == '-' {
		i++
	}
	if i < len(data) && data[i] == '0' {
		i++
	} else if next := skipDigits(data, i); next > i {
		i = next
	} else {
		return 0, errJSON
	}
	if i < len(data) && data[i] == '.' {
		next := skipDigits(data, i+1)
		if next == i+1 {
			return 0, errJSON
		}
		i = next
	}
	if i < len(data) && (data[i] == 'e' || data[i] == 'E') {
		i++
		if i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		next := skipDigits(data, i)
		if next == i {
			return 0, errJSON
		}
		i = next
	}
	return i, nil
}

func skipDigits(data []byte, i int) int {
	for i < len(data) && '0' <= data[i] && data[i] <= '9' {
		i++
	}
	return i
}

func hex4(data []byte, i int) (rune, bool) {
	if i+4 > len(data) {
		return 0, false
	}
	var r rune
	for _, c := range data[i : i+4] {
		digit := hexDigit[c]
		if digit > 15 {
			return 0, false
		}
		r = r<<4 | rune(digit)
	}
	return r, true
}

// appendUnquoted appends the text of a valid JSON string. Invalid UTF-8 and lone surrogates become U+FFFD.
func appendUnquoted(to, quoted []byte) []byte {
	s := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(s, '\\') < 0 {
		if utf8.Valid(s) {
			return append(to, s...)
		}
		return append(to, bytes.ToValidUTF8(s, []byte("\uFFFD"))...)
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
	return append(to, bytes.ToValidUTF8(out, []byte("\uFFFD"))...)
}
