package receiver

import (
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

// The bounds of the receiver.
const (
	// DefaultMaxBodyBytes admits inbound mail: a 20 MB attachment is sent twice, escaped and percent-encoded.
	DefaultMaxBodyBytes = 100 << 20
	// DefaultMaxInflightBytes is for two of the largest bodies, or for a batch of common size from each of some 200
	// webhooks.
	DefaultMaxInflightBytes = 256 << 20
	// inflightWait is how long a body waits for others to be done before it is refused.
	inflightWait = 5 * time.Second
	// littleShare is what a body may want and be served before those that want more: a batch of common size. Those that
	// are larger take turns.
	smallBody = 64 << 10
	// retryAfter is when a refused sender may try again, in seconds. Mandrill does so by itself, later.
	retryAfter = "10"
	// readHeaderTimeout and readTimeout end slow senders. Mandrill sends from one place with good lines.
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 2 * time.Minute
	// scarceGrace and scarceRate end them sooner while memory is scarce: what a body has been given must be full after
	// the grace, and a second more for so many bytes. The grace is less than inflightWait, so that those who wait for
	// memory outlast those who do not send, and more than a packet that is lost takes to be sent again. At the rate, the
	// largest body comes within readTimeout.
	scarceGrace = 3 * time.Second
	scarceRate  = 1 << 20
	// refusedGrace is for the rest of a body that is refused: who has sent it all can use the connection again.
	refusedGrace = 5 * time.Second
	// idleTimeout outlives the idle timeouts of common load balancers, which would reuse a closed connection.
	idleTimeout = 3 * time.Minute
	// maxHeaderBytes is far above what Mandrill and a proxy in front send.
	maxHeaderBytes = 64 << 10
	// http2Buffer is what a connection of HTTP/2 may have sent that no handler has read yet. It is beside the memory for
	// bodies. Over 100 ms it allows 2.5 MB a second, by which the largest body comes within readTimeout.
	http2Buffer = 256 << 10
	// firstBuffer is what a body is given before anything of it has come. It is small, so that it takes tens of thousands
	// of senders that send nothing to fill the memory for bodies. Then a body has up to four times what has come.
	firstBuffer = 4 << 10
	// directTimeout bounds a batch in Direct mode, so that a sink that hangs costs Mandrill one connection for
	// that long and not for a thousand timeouts.
	directTimeout = routes.MaxDirectTimeout
	// hintInterval is the least time between two requests to the operator: forged batches are cheap to send.
	hintInterval = time.Minute
	// hintTimeout bounds one of them.
	hintTimeout = 5 * time.Second
	// maxHints bounds how many webhooks are remembered for the operator.
	maxHints = 10_000
	// maxHintsPerRequest keeps a request small.
	maxHintsPerRequest = 1000
	// maxHintAnswer is how much of the operator's answer is read.
	maxHintAnswer = 64 << 10
)
