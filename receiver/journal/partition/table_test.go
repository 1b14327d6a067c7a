package partition_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/partition"
)

// settle gives free partitions away, and moves others one at a time, until nothing is to do. It returns how many have moved.
func settle(t *testing.T, holders, members []string) (moves int) {
	t.Helper()
	for {
		for at, to := range partition.Assign(holders, members) {
			holders[at] = to
		}
		at, ok := partition.Surplus(holders, members)
		if !ok {
			return moves
		}
		if moves++; moves > 10*len(holders) {
			t.Fatalf("it does not settle: %v", holders)
		}
		holders[at] = ""
	}
}

func counts(holders []string) map[string]int {
	held := map[string]int{}
	for _, holder := range holders {
		held[holder]++
	}
	return held
}

// Members come and go in any order. No member ever has more than its share, and no more partitions move than must.
func TestPartitionsAreEvenAndMoveAsLittleAsPossible(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		holders, members := make([]string, partition.Count), []string(nil)
		for step := range 30 {
			before := slices.Clone(holders)
			var must int
			if len(members) > 0 && random.IntN(2) == 0 {
				gone := members[random.IntN(len(members))]
				members = slices.DeleteFunc(members, func(id string) bool { return id == gone })
				must = counts(holders)[gone]
			} else {
				id := fmt.Sprintf("%d-%d", random.IntN(1000), step)
				members = append(members, id)
				must = len(holders) / len(members) // what the new one gets
			}
			if len(members) == 0 {
				continue
			}
			settle(t, holders, members)
			least, most := len(holders)/len(members), (len(holders)+len(members)-1)/len(members)
			for _, id := range members {
				if has := counts(holders)[id]; has < least || has > most {
					t.Fatalf("seed %d: %s has %d of %v", seed, id, has, counts(holders))
				}
			}
			changed := 0
			for at := range holders {
				if before[at] != "" && holders[at] != before[at] {
					changed++
				}
			}
			if changed > must {
				t.Fatalf("seed %d: %d partitions have moved, %d must:\n%v\n%v", seed, changed, must, before, holders)
			}
		}
	}
}

// All members come to the same result, whatever the order in which they know the members.
func TestAssignmentIsTheSameForAll(t *testing.T) {
	t.Parallel()
	holders, members := make([]string, partition.Count), []string{"a", "b", "c", "d", "e"}
	holders[3] = "b"
	want := partition.Assign(holders, members)
	slices.Reverse(members)
	for at, got := range partition.Assign(holders, members) {
		if want[at] != got {
			t.Errorf("partition %d is for %s and %s", at, want[at], got)
		}
	}
}

// Partition 0 has work for the whole buffer, so it moves last.
func TestPartitionZeroMovesLast(t *testing.T) {
	t.Parallel()
	holders := slices.Repeat([]string{"a"}, partition.Count)
	for range partition.Count / 2 {
		at, ok := partition.Surplus(holders, []string{"a", "b"})
		if !ok || at == 0 {
			t.Fatalf("partition %d moves of %v", at, holders)
		}
		holders[at] = "b"
	}
}

// Partitions are those of the function partition of NATS, which is FNV-1a of 32 bits, so that a subject mapping finds the same ones. They
// must never change: messages are stored under them.
func TestPartitionIsThatOfNATS(t *testing.T) {
	t.Parallel()
	for token, hash := range map[string]int{"": 0x811c9dc5, "a": 0xe40c292c, "foobar": 0xbf9cf968} { // from the specification of FNV
		if got, want := partition.Of(token, partition.Count), hash%12; got != want {
			t.Errorf("%q is in partition %d, want %d", token, got, want)
		}
	}
}
