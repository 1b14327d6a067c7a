package engine

import (
	"github.com/nats-io/nats.go"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/natsfiles"
)

// MaxPayload is the size of the largest message that an embedded server accepts, headers included. It bounds what has to be
// in memory at once.
const MaxPayload = 8 << 20

// Connection is a connection to the server with the streams, and what must be known about that server. Fields that do not
// apply to an engine are nil or zero.
type Connection struct {
	Conn *nats.Conn
	// Close closes Conn and stops the server if it runs for this connection alone. It must be called once.
	Close func()
	// Exclusive means that no other process uses the streams: their contents change only through Conn, and no request is
	// lost to the election of a leader.
	Exclusive bool
	// Failed receives a value when the server reported a broken store. Such a store does not recover: a stream that could
	// not be written once is not written again, and one that could not be read is not read any further.
	Failed <-chan struct{}
	// Repairs says what was damaged in the server's files, and what was not repaired, since the previous successful Open.
	Repairs natsfiles.Report
	// Checkpoint is the file for what is known of the streams, outside of the server's files; empty: the volume is not ours.
	Checkpoint string
	// SyncDirs syncs the directories of all streams, and SyncDir those of one stream. SyncDirs must be called when the
	// streams exist, and SyncDir before a change of a stream counts as durable.
	SyncDirs func() error
	SyncDir  func(stream string) error
	// Partitioned reports whether this member of a cluster has lost contact with the others.
	Partitioned func() bool
	// Reserve is the reserved space on the volume of the streams.
	Reserve *DiskReserve
	// RecordFile is where the record of what is being processed is (package quarantine). Empty: there is no volume that only this
	// process uses.
	RecordFile string
}

// ConfigError is an error that retrying does not fix: somebody must change the configuration.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.Err }
