package mandrill

import (
	"bytes"
	"fmt"
)

// FormDecoder decodes an application/x-www-form-urlencoded body while it arrives, in the buffer in which it arrives: it is in
// memory once, and escapes take no memory. It accepts what [net/url.ParseQuery] accepts except repeated names, and decodes to
// the same bytes. In addition it accepts a semicolon as part of a name or value. The zero value is ready to use.
type FormDecoder struct {
	decoded int    // bytes of the buffer that are decoded
	form    Form   // complete fields, without values: the buffer may move until the body is complete
	values  []span // of the fields
	begun   bool   // the next field has begun
	inValue bool   // and its name has ended
	name    string
	value   int // where its value begins
	err     error
}

// span is a part of the buffer.
type span struct{ start, end int }

// Decode decodes what was appended to the buffer since the last call, and returns the new length of the buffer: bytes that it
// had before stay, and an escape that has not arrived whole is kept as it is. After an error, which Form returns, nothing is kept.
func (d *FormDecoder) Decode(buffer []byte) (length int) {
	to, from := d.decoded, d.decoded
	for d.err == nil && from < len(buffer) {
		switch c := buffer[from]; {
		case c == '&':
			d.endField(buffer[:to])
			from++
		case c == '=' && !d.inValue:
			d.endName(buffer[:to])
			from++
		default:
			d.begun = true
			written, read, err := unescape(buffer[to:], buffer[from:], d.inValue)
			if err == nil && read == 0 { // an escape that has not arrived whole
				d.decoded = to
				return to + copy(buffer[to:], buffer[from:])
			}
			d.err = err
			to += written
			from += read
			if d.err == nil && !d.inValue && to-d.nameStart() > maxName {
				d.err = fmt.Errorf("%w: at most %d bytes are read", ErrLongName, maxName)
			}
		}
	}
	if d.err != nil {
		*d = FormDecoder{err: d.err}
		return 0
	}
	d.decoded = to
	return to
}

// Failed reports whether the body is no form. What follows does not matter.
func (d *FormDecoder) Failed() bool { return d.err != nil }

// nameStart is where the name of the next field begins: separators are not in the buffer.
func (d *FormDecoder) nameStart() int {
	if n := len(d.values); n > 0 {
		return d.values[n-1].end
	}
	return 0
}

// Form returns the form at the end of the body. Its values are parts of the buffer, which Decode has seen to its end.
func (d *FormDecoder) Form(buffer []byte) (Form, error) {
	if d.err == nil && len(buffer) > d.decoded {
		d.err = ErrFormEscape
	}
	if d.err == nil {
		d.endField(buffer)
	}
	if d.err != nil {
		return nil, d.err
	}
	for i, value := range d.values {
		d.form[i].Value = buffer[value.start:value.end:value.end]
	}
	return d.form, nil
}

// endName ends the name of the next field where the decoded bytes end.
func (d *FormDecoder) endName(decoded []byte) {
	d.name, d.value = string(decoded[d.nameStart():]), len(decoded)
	d.begun, d.inValue = true, true
}

// endField ends the next field, if it has begun, where the decoded bytes end.
func (d *FormDecoder) endField(decoded []byte) {
	if !d.begun {
		return
	}
	if !d.inValue {
		d.endName(decoded)
	}
	d.form, d.err = d.form.add(d.name, nil)
	d.values = append(d.values, span{d.value, len(decoded)})
	d.begun, d.inValue = false, false
}

// unescape decodes + and %XX from src to dst, up to the next &, or = in a name, or an escape that src does not have whole. It returns
// the numbers of bytes written and read. The two may overlap if dst does not begin after src. Escapes come in runs, and so do other
// bytes: a loop for each kind of run saves a third of the time.
func unescape(dst, src []byte, inValue bool) (written, read int, err error) {
	end := len(src)
	if !inValue {
		if i := bytes.IndexAny(src, "=&"); i >= 0 {
			end = i
		}
	}
	for read < end && src[read] != '&' {
		for read+2 < len(src) && src[read] == '%' {
			c := hexPair[uint16(src[read+1])<<8|uint16(src[read+2])]
			if c == noHex {
				return written, read, ErrFormEscape
			}
			dst[written] = byte(c) //nolint:gosec // c < noHex
			written++
			read += 3
		}
		if read < end && src[read] == '%' {
			return written, read, nil
		}
		n := unplus(dst[written:], src[read:end])
		written += n
		read += n
	}
	return written, read, nil
}

// unplus copies src to dst up to the next % or &, with + as a space, and returns the number of bytes. The two may overlap if
// dst does not begin after src.
func unplus(dst, src []byte) int {
	dst = dst[:len(src)] // saves a bounds check per byte
	for i, c := range src {
		switch {
		case c > '+': // most bytes
		case c == '+':
			c = ' '
		case c == '%', c == '&':
			return i
		}
		dst[i] = c
	}
	return len(src)
}

// hexDigit maps a byte to its value as a hexadecimal digit, or to 255.
var hexDigit = func() (table [256]byte) {
	for i := range table {
		switch c := byte(i); {
		case '0' <= c && c <= '9':
			table[i] = c - '0'
		case 'a' <= c && c <= 'f':
			table[i] = c - 'a' + 10
		case 'A' <= c && c <= 'F':
			table[i] = c - 'A' + 10
		default:
			table[i] = 255
		}
	}
	return table
}()

// noHex marks a pair of bytes that are not hexadecimal digits.
const noHex = 1 << 8

// hexPair maps two bytes to their value as hexadecimal digits, or to noHex. One lookup is faster than two.
var hexPair = func() (table [1 << 16]uint16) {
	for i := range table {
		high, low := hexDigit[i>>8], hexDigit[i&255]
		if table[i] = uint16(high)<<4 | uint16(low); high|low > 15 {
			table[i] = noHex
		}
	}
	return table
}()
