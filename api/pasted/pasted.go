// Package pasted finds what editors, shells and the clipboard add to keys, URLs and passwords: quotation marks, byte order
// marks, invisible characters. Nobody sees them, and a key that has one looks like a wrong key.
package pasted

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const byteOrderMark = "\ufeff"

// Trim returns a text without white space at its ends and without a byte order mark at its beginning. Editors and commands
// such as echo add them to files.
func Trim(text string) string {
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), byteOrderMark))
}

// quotes are the quotation marks of shells and of word processors.
const quotes = "\"'`\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb"

// Fault returns what a text has that was hardly meant, followed by the remedy, or "" when there is nothing. It does not quote
// the text, which may be secret, except for the code of an invisible character.
func Fault(text string) string {
	first, _ := utf8.DecodeRuneInString(text)
	last, _ := utf8.DecodeLastRuneInString(text)
	switch {
	case strings.HasPrefix(text, "\xff\xfe"), strings.HasPrefix(text, "\xfe\xff"):
		return "the encoding UTF-16: save it as UTF-8"
	case text != "" && (strings.ContainsRune(quotes, first) || strings.ContainsRune(quotes, last)):
		return "quotation marks at its ends: write it without them"
	case strings.TrimSpace(text) != text:
		return "white space at its ends: remove it"
	case !utf8.ValidString(text):
		return "bytes that are not UTF-8: save it as UTF-8"
	}
	if i := strings.IndexFunc(text, invisible); i >= 0 {
		c, _ := utf8.DecodeRuneInString(text[i:])
		return fmt.Sprintf("the invisible character U+%04X: remove it", c)
	}
	return ""
}

// KeyFault is [Fault] for a key or a token, which has nothing but visible ASCII characters.
func KeyFault(text string) string {
	if fault := Fault(text); fault != "" {
		return fault
	}
	for _, c := range text {
		if c <= ' ' || c > '~' {
			return fmt.Sprintf("the character U+%04X: a key has visible ASCII characters only, and no spaces", c)
		}
	}
	return ""
}

// invisible reports whether a character is neither visible nor a plain space.
func invisible(c rune) bool {
	return c != ' ' && !unicode.IsGraphic(c) || unicode.IsSpace(c) && c != ' '
}
