package main

import (
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"time"
)

// ledger has every event whose batch was answered with 200, and every event that the sink accepted.
type ledger struct {
	messages string // prefix of the ids of its messages

	mu         sync.Mutex
	events     []record
	highest    map[string]int // ordinal that has arrived, by message
	accepted   int
	missing    int // accepted events that have not arrived
	duplicates int
	unordered  int // events that arrived after a later one of their message
	unknown    int // events of others
}

type record struct {
	accepted bool
	arrived  bool
}

// event is an event of Mandrill with the numbers by which the ledger knows it.
type event struct {
	Event   string `json:"event"`
	ID      string `json:"_id"`
	Time    int64  `json:"ts"`
	Serial  int    `json:"serial"`  // among all events
	Ordinal int    `json:"ordinal"` // among the events of its message
	Padding string `json:"padding,omitempty"`
}

// issue makes the next events of messages, in turn, the given number for each.
func (l *ledger) issue(messages []string, ordinals map[string]int, count int, padding string) (serials []int, raw [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range count {
		id := messages[i%len(messages)]
		ordinals[id]++
		data, err := json.Marshal(event{Event: "open", ID: id, Time: time.Now().Unix(), Serial: len(l.events), Ordinal: ordinals[id], Padding: padding})
		if err != nil {
			panic(err) // strings and numbers can be encoded
		}
		serials, raw = append(serials, len(l.events)), append(raw, data)
		l.events = append(l.events, record{})
	}
	return serials, raw
}

func (l *ledger) accept(serials []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, serial := range serials {
		l.events[serial].accepted = true
		l.accepted++
		if !l.events[serial].arrived {
			l.missing++
		}
	}
}

func (l *ledger) arrived(body []byte) {
	var e event
	err := json.Unmarshal(body, &e)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || !strings.HasPrefix(e.ID, l.messages) || e.Serial >= len(l.events) {
		l.unknown++
		return
	}
	r := &l.events[e.Serial]
	if r.arrived {
		l.duplicates++
		return
	}
	r.arrived = true
	if r.accepted {
		l.missing--
	}
	if e.Ordinal < l.highest[e.ID] {
		l.unordered++
	}
	l.highest[e.ID] = max(l.highest[e.ID], e.Ordinal)
}

// report is the state of a flow. Failed has the posts that were not answered with 200, by status or kind of error.
type report struct {
	Posts      int            `json:"posts"`
	Failed     map[string]int `json:"failed"`
	SlowestMS  int64          `json:"slowestMs"`
	Accepted   int            `json:"accepted"`
	Missing    int            `json:"missing"`
	Duplicates int            `json:"duplicates"`
	Unordered  int            `json:"unordered"`
	Unknown    int            `json:"unknown"`
}

func (l *ledger) report(f *flow) report {
	f.mu.Lock()
	r := report{Posts: f.posts, Failed: maps.Clone(f.failed), SlowestMS: f.slowest.Milliseconds()}
	f.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Accepted, r.Missing, r.Duplicates, r.Unordered, r.Unknown = l.accepted, l.missing, l.duplicates, l.unordered, l.unknown
	return r
}
