package partition

import (
	"hash/fnv"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/streams"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/watch"
)

// Count is how many partitions a shared buffer has. It must not change: messages are stored under their partition. Twelve divide
// evenly among two, three, four and six members.
const Count = 12

// Whole is the partition of a buffer that has none: all of it.
const Whole = -1

// Of returns the partition of a token of a subject, as the function partition of NATS does.
func Of(token string, count int) int {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(token))
	return int(hash.Sum32() % uint32(count)) //nolint:gosec // a small number
}

// Subjects knows the subjects of messages of batches and of remainders.
type Subjects struct {
	Layout *streams.Layout
	Count  int         // of partitions; 0: the buffer has none
	before atomic.Bool // an older receiver delivers
}

// SetBefore says whether an older receiver delivers. It could not read messages that are stored under a partition.
func (s *Subjects) SetBefore(before bool) { s.before.Store(before) }

// HasPartitions reports whether messages are stored under partitions.
func (s *Subjects) HasPartitions() bool { return s.Count > 0 && !s.before.Load() }

// Partition returns the partition of a webhook.
func (s *Subjects) Partition(webhook string) int {
	if s.Count == 0 {
		return Whole
	}
	return Of(streams.Token(webhook), s.Count)
}

// Store returns the subject under which a message of a webhook is stored.
func (s *Subjects) Store(kind, webhook string) string {
	token := streams.Token(webhook)
	if !s.HasPartitions() {
		return s.Layout.Subject(kind, token)
	}
	return s.in(kind, Of(token, s.Count), token)
}

func (s *Subjects) in(kind string, partition int, token string) string {
	return s.Layout.Subject(kind, strconv.Itoa(partition)+"."+token)
}

// Webhook returns the subjects that messages of a webhook may have; the old one is the last.
func (s *Subjects) Webhook(kind, webhook string) []string {
	token := streams.Token(webhook)
	if s.Count == 0 {
		return []string{s.Layout.Subject(kind, token)}
	}
	return []string{s.in(kind, Of(token, s.Count), token), s.Layout.Subject(kind, token)}
}

// All returns the subjects of all messages of a partition. Under the last of several there are messages of other partitions, too:
// see Has.
func (s *Subjects) All(kind string, partition int) []string {
	if s.Count == 0 || partition == Whole {
		return []string{s.Layout.Subject(kind, ">")}
	}
	return []string{s.in(kind, partition, "*"), s.Layout.Subject(kind, "*")}
}

// Watch returns the subjects to watch for the messages of a partition.
func (s *Subjects) Watch(kind string, partition int) watch.Subjects {
	all := s.All(kind, partition)
	if len(all) == 1 {
		return watch.Subjects{Filter: all[0]}
	}
	return watch.Subjects{Filter: all[0], Old: all[1], All: s.Layout.Subject(kind, ">")}
}

// Has reports whether a subject is that of a message of a partition.
func (s *Subjects) Has(partition int, subject string) bool {
	return partition == Whole || s.Count == 0 || Of(subject[strings.LastIndexByte(subject, '.')+1:], s.Count) == partition
}

// IsBefore reports whether a subject of a kind is an old one, without a partition.
func (s *Subjects) IsBefore(kind, subject string) bool {
	return s.Count > 0 && !strings.Contains(strings.TrimPrefix(subject, s.Layout.Subject(kind, "")), ".")
}
