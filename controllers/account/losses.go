package account

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// A list may lack what Mandrill has, as an empty answer in error does. An operator that believes it adds everything a second
// time. So an element counts as gone when two lists in a row lack it, with a pause between them.

// confirmPause is the least time between a list that is doubted and the one that confirms it.
const confirmPause = 2 * time.Second

// maxGone bounds the memory of what is gone. Beyond it, one more list is requested than would be needed.
const maxGone = 1000

// losses remembers the elements of a list that should be in the next one.
type losses struct {
	known   map[string]bool // in the last list that counted, or recorded by an object
	missing map[string]bool // known, and not in the last list
	gone    map[string]bool // deleted, or not in two lists in a row, and in none since
	doubted time.Time       // when the last list was requested, if it is doubted
}

// expect adds elements that an object has recorded, except those that are gone.
func (l *losses) expect(ids ...string) {
	if l.known == nil {
		l.known = map[string]bool{}
	}
	for _, id := range ids {
		if !l.gone[id] {
			l.known[id] = true
		}
	}
}

// deleted records that an element was deleted through the account.
func (l *losses) deleted(id string) {
	if l.gone == nil || len(l.gone) >= maxGone {
		l.gone = map[string]bool{}
	}
	l.gone[id] = true
	delete(l.known, id)
	delete(l.missing, id)
}

// deletedAll forgets all elements, which are known to be gone.
func (l *losses) deletedAll() {
	for _, id := range slices.Collect(maps.Keys(l.known)) {
		l.deleted(id)
	}
	l.doubted = time.Time{}
}

// tooSoon reports whether a list would confirm nothing, because the one that is doubted was requested a moment ago.
func (l *losses) tooSoon(now time.Time) bool {
	return !l.doubted.IsZero() && now.Sub(l.doubted) < confirmPause
}

// doubts takes a list that was requested at a time, and reports whether it lacks elements that are not known to be gone. While
// the list has elements that cannot be read, any of them may be what it lacks.
func (l *losses) doubts(ids []string, unreadable int, requested time.Time) bool {
	has := map[string]bool{}
	for _, id := range ids {
		has[id] = true
		delete(l.gone, id)
	}
	missing := map[string]bool{}
	doubtful := false
	for id := range l.known {
		if has[id] {
			continue
		}
		missing[id] = true
		doubtful = doubtful || !l.missing[id] || unreadable > 0
	}
	if l.missing = missing; doubtful {
		l.doubted = requested
		return true
	}
	for id := range missing {
		l.deleted(id)
	}
	l.known, l.missing, l.doubted = has, nil, time.Time{}
	return false
}

// errLost is temporary: the list is requested again.
func errLost(list string, unreadable []int) error {
	cause := errors.New("the list lacks what was there before, and is requested again")
	if len(unreadable) > 0 {
		cause = fmt.Errorf("the list lacks what was there before, which may be %s, without a readable ID: look at it in Mandrill", inWords(unreadable))
	}
	return &mandrill.TransportError{Call: list, Err: cause}
}

// unreadableAgain is how often at most elements of a list without a readable ID are logged.
const unreadableAgain = time.Hour

// unreadableLog is what was last logged about a list.
type unreadableLog struct {
	positions []int
	at        time.Time
}

// logUnreadable logs elements of a list that have no readable ID: once, and again when others are unreadable, at most once an
// hour. The caller holds mu.
func (a *Account) logUnreadable(ctx context.Context, list string, positions []int) {
	last, now := a.unreadable[list], a.pool.now()
	if len(positions) == 0 || slices.Equal(last.positions, positions) || !last.at.IsZero() && now.Sub(last.at) < unreadableAgain {
		return
	}
	if a.unreadable == nil {
		a.unreadable = map[string]unreadableLog{}
	}
	a.unreadable[list] = unreadableLog{positions, now}
	log.FromContext(ctx).Info("Left out elements of a list that have no readable ID", "list", list, "positions", positions)
}

// inWords names positions of elements, such as "element 1 and 3".
func inWords(positions []int) string {
	texts := make([]string, 0, len(positions))
	for _, position := range positions {
		texts = append(texts, strconv.Itoa(position))
	}
	return "element " + strings.Join(texts, " or ")
}

// readable returns the elements of a list with an ID, and the positions of the others, counted from 1. A list of elements
// without an ID is not an empty one: it is a temporary error.
func readable[T any, ID comparable](call string, list []T, id func(T) ID) (with []T, without []int, err error) {
	var none ID
	with = make([]T, 0, len(list))
	for i, element := range list {
		if id(element) == none {
			without = append(without, i+1)
			continue
		}
		with = append(with, element)
	}
	if len(with) == 0 && len(without) > 0 {
		err = &mandrill.TransportError{Call: call, Err: errors.New("no element of the list has a readable ID")}
	}
	return with, without, err
}
