package store

import "github.com/nats-io/nats.go/jetstream"

// Codes are those that this package knows.
var Codes = map[string]jetstream.ErrorCode{
	"no peers": codeNoPeers, "unavailable": codeUnavailable, "not leader": codeNotLeader, "insufficient": codeInsufficient, "no storage": codeNoStorage,
	"message too large": codeMessageTooLarge, "not clustered": codeNotClustered, "store failed": codeStoreFailed,
}
