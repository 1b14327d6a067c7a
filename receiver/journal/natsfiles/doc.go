// Package natsfiles knows the files of an embedded nats-server: their layout is private to the server, and this package is
// the only one that depends on it. It knows the versions in provenVersions (version.go); a test builds a store with the linked
// server, checks every assumption, and fails if the linked version is not in that table.
//
// # What it reads
//
// Below StoreDir, for each stream jetstream/ACCOUNT/streams/STREAM:
//
//	meta.inf, meta.sum  the stream's configuration, and its checksum
//	msgs/N.blk          blocks of up to 8 MiB, numbered upwards: a sequence of records, see block.go
//	msgs/index.db       the state of the stream, written when the server stops; only moved, never read
//
// # What it changes
//
// [Repair] runs before the server is started, and never while it runs. It
//
//   - replaces damaged records inside a block by erased ones of the same length, and truncates a block whose end is damaged;
//   - moves damaged meta files, blocks that give I/O errors, and the index of a repaired stream to the quarantine;
//   - copies each block to the quarantine before it changes it. Nothing in the quarantine is ever used or removed.
//
// It is needed because the server loses what comes after a damaged record: after a crash it truncates the block there, and
// after a regular stop it trusts its index and hides the later messages. One flipped bit would cost up to 8 MiB of batches.
//
// [Dirs] syncs directories while the server runs. It is needed because the server does not do so when it creates or removes
// a block, before it acknowledges a message.
//
// # When it changes nothing
//
// If the layout were another one, good data would look damaged and be overwritten. So Repair does nothing at all if the
// version is not in the table, and leaves a stream alone if more of it looks damaged than damage explains, see
// damageExplains. It then logs an error, reports the [Reason], and the server starts with the files as they are.
package natsfiles
