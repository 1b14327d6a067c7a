// Package store is JetStream as the journal uses it: requests that are repeated while there is no leader, errors by what they mean,
// settings of streams that lose nothing, and objects for large events.
package store
