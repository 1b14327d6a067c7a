package routes

import (
	"crypto/sha256"
	"encoding/hex"
)

// ObjectID is what tells the routes of an object from those of one with the same name and URL in another cluster, by the UID of the
// object. See Route.Object.
func ObjectID(uid string) string {
	sum := sha256.Sum256([]byte(uid))
	return hex.EncodeToString(sum[:6])
}
