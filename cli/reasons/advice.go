package reasons

import (
	"slices"
	"strings"
	"unicode"
)

// Advice returns what to do about a reason, without what a condition's message says already. Most messages end with what to do, in
// the words of the remedy or with more detail, and nobody wants to read it twice.
func Advice(name, message string) string {
	return Unsaid(Remedy(name), message)
}

// Unsaid returns the sentences of a text that a message does not say.
func Unsaid(text, message string) string {
	said := words(message)
	list := slices.DeleteFunc(sentences(text), func(sentence string) bool {
		known, all := 0, words(sentence)
		for _, word := range all {
			if slices.Contains(said, word) {
				known++
			}
		}
		return len(all) > 0 && float64(known) >= saidShare*float64(len(all))
	})
	return strings.Join(list, " ")
}

const (
	// saidShare is the share of a sentence's words that a message has if it says the same.
	saidShare = 0.6
	// stem is how many letters of a word count, so that fail and failed are one word.
	stem = 5
	// shortest is the length of the shortest word that counts.
	shortest = 4
)

// common are words that any two sentences may share.
var common = []string{"that", "them", "this", "with", "into", "from", "their", "there", "have", "which", "some", "such"}

// words returns the beginnings of the words that make up what a text says.
func words(text string) (list []string) {
	for _, word := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) }) {
		if len(word) >= shortest && !slices.Contains(common, word) {
			list = append(list, word[:min(len(word), stem)])
		}
	}
	return list
}
