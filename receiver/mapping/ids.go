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
	ids := make([]string, len(events))
	seen := make(map[string]int, len(events))
	for i, raw := range events {
		sum := sha256.Sum256(raw)
		id := hex.EncodeToString(sum[:16])
		n := seen[id]
		seen[id]++
		if n > 0 {
			id += "-" + strconv.Itoa(n)
		}
		ids[i] = id
	}
	return ids
}
