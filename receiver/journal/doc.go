// Package journal stores batches on disk until they are delivered. It uses streams of NATS JetStream: of a server in this process, of
// a cluster of such servers, or of one elsewhere (the engine). A buffer is used exclusively (by this process only) or shared.
//
// # Streams
//
// NAME is "mandrill" unless Options.Name says otherwise.
//
//	NAME-batch         batches, and parts of batches that do not fit into one message    NAME.batch.WEBHOOK
//	                   in a shared buffer                                                NAME.batch.PARTITION.WEBHOOK
//	NAME-remainder     what remains of batches that are partly delivered                 NAME.remainder.WEBHOOK
//	                   in a shared buffer                                                NAME.remainder.PARTITION.WEBHOOK
//	NAME-dead-letter   events that will not be delivered                                 NAME.dead-letter.WEBHOOK
//	NAME-finished      ids of what left the batches in the last 12 hours                 NAME.finished.ID
//	                   names of the objects that were removed meanwhile                  NAME.finished.object.OBJECT
//	OBJ_NAME-objects   events that do not fit into a message
//	KV_NAME-state      leases and who has which partition, the key of ids, deleted webhooks, in a shared buffer what is being processed
//
// In this package a message is a stored message of JetStream, not a mail. Batches and remainders are the work still to do; there is
// no other record of it. Messages are read by sequence and deleted when they are done. JetStream consumers do not track progress:
// they only read headers. One announces new batches (package watch), and each scan of headers creates another (store.ScanHeaders).
//
// # Partitions
//
// The webhooks of a shared buffer are divided into partitions, and each partition has a leader: one of the processes that share the buffer
// (package partition). An exclusive buffer has one leader and no partitions. The leader of partition 0 also does what is to be done for
// the whole buffer: it collects garbage and removes old dead letters. Each leader erases what is of its own partition on request,
// because delivery stops meanwhile.
//
// # Life of a batch
//
// [Journal.Append] stores it, in parts if it is large, and returns when all of it is synced. The leader's [Consumer.Watch] announces it,
// [Consumer.Next] reads it. Then [Consumer.Ack] deletes it, or [Consumer.Requeue] replaces it by a remainder, which may be replaced
// again. [Consumer.DeadLetter] keeps an event that is given up; [Journal.Redrive] makes it a batch again. What replaces a message is
// stored before the message is deleted, and the message refers to its object as long as it is there.
//
// # Who may call what
//
// Anybody, at any time: Append, Available, WaitAvailable, DeadLetters, [Journal.DeadLetter] (which reads one), Redrive, Purge. The
// leader only: the methods of [Consumer], which [Journal.Lead] hands out, in a shared buffer one for each partition that the process holds.
// There the process has a lease; in an exclusive buffer it needs none. Lead and Run are called once per process. A session ends with its
// connection; nothing may use it afterwards.
//
// # When the lease is lost
//
// A process that cannot renew its lease gives up its partitions before another process may take them (see the time limits).
// [Consumer.LeaseContext] ends then, and with it the context of the function that Lead runs. Both end in the same moment, so there is no time to finish:
// requests to sinks are cancelled, and no progress is saved. The next leader sends the events of those requests again, with the same
// ids; the sink may have accepted some. A former leader that goes on anyway may cause duplicates, but no loss.
//
// A planned stop, and the move of a partition to a process that has fewer, are different: the context of the function ends, and LeaseContext
// does not. Requests under way get up to 10 seconds (drainTime in package dispatch), and their progress is saved. Then another process
// takes the partition at once.
//
// # Recovery
//
// After a crash, a loss of power or an error of the disk the engine is opened again (runSession). Then
//   - parts of a batch that was not acknowledged are added to when Mandrill sends the batch again (append.go),
//   - an incomplete remainder yields to what it was to replace, a complete one replaces it (remainders.go),
//   - a dead letter is stored again under the same id,
//   - objects that nothing refers to are removed (package gc),
//   - a message whose deletion did not last is removed again, if a mark proves that it was finished (package finished).
//
// So events may be delivered twice, with the same ids: those of the last second before a crash, those of a remainder whose deletion did
// not last, and those that two leaders have read. In a partition a member without the others refuses batches.
//
// # Messages that are missing
//
// That a message is not there may be normal: [ErrNotFound] in an exclusive buffer means that it is gone. In a shared one a lagging
// replica may have announced it (getEventually waits for the leader), or a former leader has replaced it (errBacklogChanged: the
// leader starts again). nats-server also says "not found" of a message that it cannot read: checkUnreadable finds out, and the
// buffer is opened again. A damaged message is dropped, logged and counted (dropDamaged), unless it was finished before.
//
// # Batches that end the process
//
// Next and Get begin a section of the batch in the record of package quarantine before they decode it, and the caller ends it. At the
// next start a batch that ended the process several times becomes a dead letter as it is, without being decoded
// ([Consumer.SetAside]). If there is no space for that it is held: it stays where it is, and is not read.
//
// # Time limits
//
// Each line must hold; limits_test.go checks them.
//
//	attempt 2s < request in a shared buffer 6s < election 12s < recovery 30s < open 1m    a later limit includes the earlier ones
//	longest election 9s < append 10s < election 12s                                       a batch survives one election
//	append 10s < request in an exclusive buffer 20s                                       a slow disk fails an append first
//	renewal of the lease 1.5s + 3 requests of 2.4s < yield 9s                             a process survives three lost requests
//	yield 9s + request 2.4s + poll 0.5s < lease 12s                                       it stops before another one takes its partitions
//	poll 0.5s < settling 1s < renewal of the lease 1.5s                                   a new process sees the others before it takes any
//	2 heartbeats of a consumer < ask leader 3s < election 12s                             a lost consumer is noticed first
//	replica lag 2s < request in a shared buffer 6s
//	copy of an object 5m < garbage collection 15m                                         an object gets its message first
//	Mandrill's retries 8h20m < duplicate window 12h
package journal
