package store

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// This is the only file that knows error codes and error texts of nats-server. errors_test.go provokes each of them with the
// linked server.

// Error codes of the JetStream API.
const (
	codeNoPeers         jetstream.ErrorCode = 10005 // not enough servers for the replicas
	codeUnavailable     jetstream.ErrorCode = 10008 // no meta leader
	codeNotLeader       jetstream.ErrorCode = 10009
	codeInsufficient    jetstream.ErrorCode = 10023 // the server's storage is full
	codeNoStorage       jetstream.ErrorCode = 10047 // a stream's limit does not fit into the server's storage
	codeMessageTooLarge jetstream.ErrorCode = 10054
	codeNotClustered    jetstream.ErrorCode = 10074 // replicas on a single server
	codeStoreFailed     jetstream.ErrorCode = 10077 // one code for every error of the store; the text distinguishes them
)

const (
	textMaxBytes  = "maximum bytes"    // in codeStoreFailed: the stream's limit is reached
	textNotFound  = "not found"        // in a failed deletion: the message was deleted before
	textNoMessage = "no message found" // in a failed deletion: the stream begins after the message
	textStreamEnd = "stream store EOF" // in a failed deletion: the stream ends before the message
	textErrorCode = "err_code="        // before the code, where the client keeps only the text of an API error
)

// IsFull reports whether there is no space, as opposed to a fault.
func IsFull(err error) bool {
	api := new(jetstream.APIError)
	if !errors.As(err, &api) {
		return false
	}
	if api.ErrorCode == codeStoreFailed {
		return strings.Contains(api.Description, textMaxBytes)
	}
	return slices.Contains([]jetstream.ErrorCode{codeNoStorage, codeInsufficient, codeMessageTooLarge}, api.ErrorCode)
}

// IsNoLeader reports whether nobody could answer, which passes when a leader is elected.
func IsNoLeader(err error) bool {
	api := new(jetstream.APIError)
	if errors.As(err, &api) {
		return slices.Contains([]jetstream.ErrorCode{codeUnavailable, codeNoPeers, codeNotLeader}, api.ErrorCode)
	}
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) { // the client keeps only the text
		return strings.Contains(err.Error(), textErrorCode+strconv.Itoa(int(codeUnavailable)))
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, jetstream.ErrNoStreamResponse)
}

// IsGone reports whether a message that was to be deleted was not there.
func IsGone(err error) bool {
	if !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) { // the client keeps only the text
		return errors.Is(err, jetstream.ErrMsgNotFound)
	}
	return slices.ContainsFunc([]string{textNotFound, textNoMessage, textStreamEnd}, func(text string) bool { return strings.Contains(err.Error(), text) })
}

// IsTaken reports whether another process has written a key since it was read. Streams with several replicas have an error of
// their own for that.
func IsTaken(err error) bool {
	return errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch)
}

// IsNotClustered reports whether replicas were asked of a single server.
func IsNotClustered(err error) bool { return hasCode(err, codeNotClustered) }

// IsTooFewServers reports whether a cluster has too few servers for the replicas, or too few of them have space.
func IsTooFewServers(err error) bool { return hasCode(err, codeNoPeers) }

func hasCode(err error, code jetstream.ErrorCode) bool {
	api := new(jetstream.APIError)
	return errors.As(err, &api) && api.ErrorCode == code
}
