package receiver

import (
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

// The bounds of requests.
const (
	// DefaultMaxBodyBytes admits inbound mail: a 20 MB attachment is sent twice, escaped and percent-encoded.
	DefaultMaxBodyBytes = 100 << 20
	// DefaultMaxInflightBytes holds two of the largest bodies, or a batch of common size from each of about 200 webhooks.
	DefaultMaxInflightBytes = 256 << 20
	// eventMemory estimates what an event takes in memory besides its bytes while it is delivered in Direct mode. The memory for
	// a body covers bodyFactor times its bytes, which is enough for ordinary events. Many tiny ones reserve more.
	eventMemory = 2 << 10
	bodyFactor  = 4
	// maxCandidates bounds the routes that a request is checked against, first those with its host: each costs a hash of the
	// whole body, also of a request that nobody signed.
	maxCandidates = 32
	// inflightWait is how long a body waits for memory before it is refused.
	inflightWait = 5 * time.Second
	// smallBody is the size of a batch of common size. Requests for that much memory go first, and larger bodies share the
	// processors, see parseLimit.
	smallBody = 64 << 10
	// retryAfter is when a refused sender may try again, in seconds. Mandrill ignores it and tries later.
	retryAfter = "10"
	// readHeaderTimeout and readTimeout end slow senders. Mandrill has fast connections.
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 2 * time.Minute
	// While memory is scarce, slow senders are ended sooner: the buffer that a body was given must be full after scarceGrace
	// and one second for every scarceRate bytes. The grace is shorter than inflightWait, so that requests that wait for
	// memory outlast senders that do not send. It is longer than the retransmission of a lost packet takes. At this rate the
	// largest body arrives within readTimeout.
	scarceGrace = 3 * time.Second
	scarceRate  = 1 << 20
	// refusedGrace is for the rest of a refused body: a client that has sent all of it can reuse the connection.
	refusedGrace = 5 * time.Second
	// idleTimeout outlives the idle timeouts of common load balancers, which would reuse a closed connection.
	idleTimeout = 3 * time.Minute
	// maxHeaderBytes is far above what Mandrill and a proxy in front send.
	maxHeaderBytes = 64 << 10
	// http2Buffer is what a connection of HTTP/2 may have sent that no handler has read yet. It is not part of the memory for
	// bodies. At a round trip of 100 ms it allows 2.5 MB a second, so the largest body arrives within readTimeout.
	http2Buffer = 256 << 10
	// firstBuffer is what a body gets before its first byte arrives. It is small: tens of thousands of idle senders are needed
	// to fill the memory for bodies. After that a body holds up to four times what has arrived.
	firstBuffer = 4 << 10
	// largeBuffer is the size from which a buffer grows faster. Below, many slow senders would hold too much of the memory.
	largeBuffer = 1 << 20
	// directTimeout bounds a batch in Direct mode, so that a sink that hangs holds one connection of Mandrill for that long
	// and not for a thousand timeouts.
	directTimeout = routes.MaxDirectTimeout
)
