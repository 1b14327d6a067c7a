package journal

import "time"

// The time limits. The package comment has a table of those that depend on each other, and limits_test.go checks it.
const (
	// appendTimeout bounds storing a batch on a slow disk. It is below the usual timeouts of proxies, so that Mandrill gets a 503 and
	// not a closed connection. How long Mandrill itself waits is not known.
	appendTimeout = 10 * time.Second
	// attemptBytes gives large batches more time: where a failed attempt is repeated, one attempt gets an extra second per attemptBytes.
	attemptBytes = 4 << 20
	// longestElection is how long a cluster may take to elect a leader.
	longestElection = 9 * time.Second
	// clusterRecoveryTimeout is how long a shared buffer may take to answer again before the connection is opened again.
	clusterRecoveryTimeout = 30 * time.Second
	// openTimeout bounds finding or creating all streams. A cluster that starts has no leader for some seconds.
	openTimeout = time.Minute

	// checkpointInterval is how often the state of an exclusive buffer is written, if it has changed.
	checkpointInterval = time.Second
	// checkInterval is how often an idle journal checks whether the buffer works, for metrics and readiness.
	checkInterval = 10 * time.Second
)

const (
	// gcInterval is how often unreferenced objects are looked for. It is longer than it takes to store a reference to an object.
	gcInterval = 15 * time.Minute
	// DefaultDeadLetterMaxAge is a month, in which somebody has looked at them.
	DefaultDeadLetterMaxAge = 720 * time.Hour
	// gcAtStartTimeout bounds the garbage collection at the start, for which batches wait.
	gcAtStartTimeout = 10 * time.Second
	// progressInterval is how long Redrive and Purge go on before they report their progress.
	progressInterval = 10 * time.Second
	// mandrillRetries is how long Mandrill retries a batch: 20 times, up to 25 minutes apart.
	mandrillRetries = 20 * 25 * time.Minute
)

const (
	// maxMessage keeps small what must be in memory at once. Larger batches are split.
	maxMessage = 2 << 20
	// messageReserve is for the headers of a message.
	messageReserve = 16 << 10
	// maxFailedAppends is how many batches in a row cannot be stored before the buffer is opened again, whatever the probe says.
	maxFailedAppends = 5

	// MaxDeadLetters is the most dead letters that are read, or worked on, at once.
	MaxDeadLetters = 500
)
