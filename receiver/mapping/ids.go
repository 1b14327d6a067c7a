package mapping

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// EventIDs returns the ids of the events of a batch, given as Mandrill sent them and in its order. An id is a hash of the
// event's bytes. Events that are identical within a batch get a number as well, because two clicks in one second are two
// events. So a retry gives the same ids on any replica.
func EventIDs(events [][]byte) []string {
	const size = 16 // bytes of a hash
	texts := make([]byte, 0, 2*size*len(events))
	sums := make([][size]byte, len(events))
	for i, raw := range events {
		sum := sha256.Sum256(raw)
		sums[i] = [size]byte(sum[:])
		texts = hex.AppendEncode(texts, sum[:size])
	}
	all := string(texts) // in one piece, which each id has a part of
	ids := make([]string, len(events))
	seen := make(map[[size]byte]int, len(events))
	for i, sum := range sums {
		ids[i] = all[2*size*i : 2*size*(i+1)]
		if n := seen[sum]; n > 0 {
			ids[i] += "-" + strconv.Itoa(n)
		}
		seen[sum]++
	}
	return ids
}
