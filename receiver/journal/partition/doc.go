// Package partition divides the webhooks of a shared buffer among the receivers that share it, so that all of them deliver.
//
// # Partitions
//
// A webhook belongs to the partition that the hash of its name gives ([Of]). Each partition is delivered by one member at a time,
// which keeps the order of events. The partition is part of the subject, so a member reads its own partitions only ([Subjects]).
//
// # Members
//
// A member is a process that delivers. It has a lease (package lease) under the key member.ID, which it renews. The others detect by
// its revisions, and by their own clocks, that it is silent. Before they take its partitions they write that it is gone, at the
// revision that they have seen last. This fails if it has renewed its lease meanwhile; and if it succeeds, the member cannot renew
// its lease again. An ID is never used again after its lease has ended.
//
// # The table
//
// The key "leader" has a table of who holds which partition. It changes by compare-and-set alone, and only when a partition moves, so
// all members see the same one. A member
//   - takes partitions that nobody holds, as many as make the members equal ([Assign]),
//   - gives one up when another member holds at least two fewer ([Surplus]): requests under way finish, then the other takes it,
//   - loses a partition at once when the table names somebody else.
//
// One partition moves at a time. The partitions of a member that stops or is lost are taken all at once. A partition that stays free
// although it is another member's turn is taken by anybody after the lease time.
//
// A member reads the table before it reads the leases: a table that it changes is then not newer than what it knows of the members.
//
// # Older receivers
//
// Before there were partitions, the key "leader" had the name of the one process that delivered, and subjects had no partition. Such a
// holder is waited for, and while there is one batches are stored as it can read them. Then the table takes the place of its name.
// The holder of partition 0 writes the table again at intervals, so that no older receiver believes the lease to be free. What
// is stored under the old subjects is read by the partition of its webhook, in the order of all.
package partition
