// Package engine runs, or connects to, the NATS server that holds the streams of the journal.
//
// There are three engines. [Embedded] runs a server in this process. [Cluster] runs a server in this process that is one
// of three members with the same streams. [External] connects to servers that somebody else operates. Each returns a
// [Connection] from Open: the client connection, and the properties of the server that the journal must respect. The
// journal uses no other knowledge of its engine.
//
// An embedded server is configured to acknowledge nothing that is not on disk (SyncAlways). What that does not cover is
// added here:
//
//   - Before it starts, damaged files are repaired, and after writes directories are synced: package natsfiles.
//   - Its log is watched for a store that failed, because such a store never writes again: serverlog.go.
//   - Part of the volume is reserved, because deleting writes too and a store does not recover from a full disk:
//     diskspace.go.
//   - Members of a cluster send heartbeats, because the server notices a partition too late: heartbeat.go.
//
// Errors and log lines hold no addresses and no credentials: redact.go.
package engine
