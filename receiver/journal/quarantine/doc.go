// Package quarantine finds the batch that ends the process: one that exhausts the memory while it is read, or makes the process
// panic. Without it such a batch would be read again at every start, and nothing else would be delivered.
//
// # The record
//
// A [Record] says which batches are being read, mapped or encoded right now. Each of them has a slot in it from [Record.Begin] to
// [Record.End]. Waiting for a sink is no part of that, so a slot is in use for milliseconds. After an orderly stop no slot is in
// use. A slot that is still in use at the next start shows an abnormal end: kill -9, out of memory, a panic.
//
// # Ends in a row
//
// The first end makes suspects of the batches that have a slot then. It may have had any cause, and several batches may have a
// slot. So a suspect has its sections alone: no other batch is read, mapped or encoded meanwhile, and garbage is collected before.
// If the process ends abnormally in such a section, it ends because of that batch, or by chance. The batch is poison after several ends in
// a row: two where only this process has the record, and four in a shared buffer. There the leader may also lose its lease in a section
// and live on, which its successor cannot tell from its end, and a section may last for seconds while the buffer does not answer.
//
// A suspect that gets through a cycle of delivery is no suspect any more, and an orderly stop clears all suspicions. So ends with other
// causes cost an innocent batch only if each falls into a section of that batch.
//
// # Where it is kept
//
// In a buffer on a volume that only this process uses, in a [File] of slots of 32 bytes. It is not synced: the end of a process
// takes nothing from it. A loss of power does, and is not what it is for; at worst a batch is read alone once. In a shared buffer,
// in the bucket of the buffer's state ([Bucket]), where the next leader finds it.
package quarantine
