package harness

import (
	"encoding/hex"
	"math/rand/v2"
)

// Hex returns n random bytes in hexadecimal digits, which no compression makes smaller than half.
func Hex(random *rand.Rand, n int) string {
	raw := make([]byte, n)
	for i := range raw {
		raw[i] = byte(random.Uint32()) //nolint:gosec // the lower bits
	}
	return hex.EncodeToString(raw)
}
