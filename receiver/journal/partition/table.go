package partition

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tablePrefix begins the value of a table. The value of older receivers is the name of a process, which has no space.
const tablePrefix = "partitions "

// Table says which member holds which partition.
type Table struct {
	Holders  []string `json:"holders"`            // by partition; empty: nobody
	Moving   []int    `json:"moving,omitempty"`   // partitions that their holders are giving up
	Stopping []string `json:"stopping,omitempty"` // members that take no partitions any more
}

// errOtherCount means that partitions would not mean the same to all members.
var errOtherCount = errors.New("the buffer has another number of partitions than this receiver")

func isTable(value string) bool { return strings.HasPrefix(value, tablePrefix) }

// parseTable reads a table. An empty value is one in which nobody holds anything.
func parseTable(value string, count int) (*Table, error) {
	table := &Table{Holders: make([]string, count)}
	if value == "" {
		return table, nil
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(value, tablePrefix)), table); err != nil {
		return nil, fmt.Errorf("reading the table of partitions: %w", err)
	}
	if len(table.Holders) != count {
		return nil, errOtherCount
	}
	return table, nil
}

func (t *Table) encode() string {
	data, _ := json.Marshal(t) // strings and numbers
	return tablePrefix + string(data)
}

func (t *Table) clone() *Table {
	return &Table{slices.Clone(t.Holders), slices.Clone(t.Moving), slices.Clone(t.Stopping)}
}

// counts returns how many partitions each member holds.
func counts(holders, members []string) map[string]int {
	held := make(map[string]int, len(members))
	for _, member := range members {
		held[member] = 0
	}
	for _, holder := range holders {
		if _, known := held[holder]; known {
			held[holder]++
		}
	}
	return held
}

// byCount orders members by how many partitions they hold, then by name.
func byCount(held map[string]int) []string {
	return slices.SortedFunc(maps.Keys(held), func(a, b string) int { return cmp.Or(cmp.Compare(held[a], held[b]), cmp.Compare(a, b)) })
}

// Assign says which member is to take each partition that nobody holds: the one with the fewest. A holder that is not among the members is
// stopping, and still delivers until it has given up the partition.
func Assign(holders, members []string) map[int]string {
	held, assigned := counts(holders, members), map[int]string{}
	if len(held) == 0 {
		return assigned
	}
	for partition, holder := range holders {
		if holder == "" {
			to := byCount(held)[0]
			assigned[partition] = to
			held[to]++
		}
	}
	return assigned
}

// Surplus returns the partition that is to move next so that no member holds two more than another, if there is one. Partition 0 has work for
// the whole buffer, and moves last.
func Surplus(holders, members []string) (partition int, ok bool) {
	held := counts(holders, members)
	if len(held) < 2 {
		return 0, false
	}
	order := byCount(held)
	fewest, most := order[0], order[len(order)-1]
	if held[most] < held[fewest]+2 {
		return 0, false
	}
	for at, holder := range holders {
		if holder == most {
			partition = at
		}
	}
	return partition, true
}
