// Package nearest finds the name that a mistyped one was meant to be.
package nearest

import "strings"

// Name returns the name that is closest to a mistyped one, or "" if none is close.
func Name(typed string, names []string) string {
	best, least := "", len(typed)/3+2
	for _, name := range names {
		if d := distance(strings.ToLower(typed), strings.ToLower(name)); d < least {
			best, least = name, d
		}
	}
	return best
}

// DidYouMean returns a question with the closest name, to be put after an error, or "".
func DidYouMean(typed string, names []string) string {
	if name := Name(typed, names); name != "" {
		return ": did you mean " + name + "?"
	}
	return ""
}

// distance is that of Levenshtein.
func distance(a, b string) int {
	previous := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := range len(a) {
		current := make([]int, len(b)+1)
		current[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			current[j+1] = min(previous[j+1]+1, current[j]+1, previous[j]+cost)
		}
		previous = current
	}
	return previous[len(b)]
}
