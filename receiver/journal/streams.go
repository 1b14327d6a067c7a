package journal

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/finished"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/metrics"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/partition"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/streams"
)

const (
	// DefaultName begins the names of streams and subjects.
	DefaultName = "mandrill"
	// MinBytes is the smallest buffer.
	MinBytes = streams.MinBytes
)

// Metrics of the buffer.
type Metrics = metrics.Metrics

// NewMetrics makes the metrics and registers them; with nil they are not registered.
func NewMetrics(registerer prometheus.Registerer) *Metrics { return metrics.New(registerer) }

// ConfigError reports settings under which data would be lost. Somebody must change them.
type ConfigError = engine.ConfigError

// Limits are how many bytes may be stored of what.
type Limits = streams.Limits

// SplitLimits divides a total. With deadLetters 0 dead letters get a tenth of it.
func SplitLimits(total, deadLetters int64) (Limits, error) {
	return streams.SplitLimits(total, deadLetters)
}

const (
	kindBatch      = streams.KindBatch
	kindRemainder  = streams.KindRemainder
	kindFinished   = streams.KindFinished
	kindDeadLetter = streams.KindDeadLetter
	kindObjects    = streams.KindObjects
	kindState      = streams.KindState
)

func (j *Journal) subject(kind, name string) string { return j.layout.Subject(kind, name) }

func token(webhook string) string { return streams.Token(webhook) }

// open finds or creates the streams.
func (j *Journal) open(ctx context.Context, connection *engine.Connection) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	policy, conn := store.PolicyFor(connection.Exclusive), connection.Conn
	stream, err := jetstream.New(conn, jetstream.WithDefaultTimeout(policy.Timeout))
	if err != nil {
		return nil, fmt.Errorf("using JetStream: %w", err)
	}
	if j.intercept != nil {
		stream = j.intercept(stream)
	}
	s := &session{
		maxMessage: min(maxMessage, int(conn.MaxPayload())-messageReserve),
		store:      &store.Store{Policy: policy, JetStream: stream, Conn: conn, SyncDir: func(string) error { return nil }},
		disk:       connection.Reserve, isPartitioned: connection.Partitioned, recordFile: connection.RecordFile,
	}
	if err := streams.CheckServer(ctx, s.store, 2*messageReserve); err != nil {
		return nil, err
	}
	if err := j.openStreams(ctx, s); err != nil {
		return nil, err
	}
	if err := j.openSubjects(ctx, s); err != nil {
		return nil, err
	}
	s.store.BeforeRemoval = j.checkpointKeeper(s).BeforeRemoval
	if err := s.checkFormat(ctx); err != nil {
		return nil, err
	}
	if s.secretKey, err = s.identitySecret(ctx); err != nil {
		return nil, err
	}
	if connection.SyncDirs != nil {
		if err := connection.SyncDirs(); err != nil {
			return nil, err
		}
		s.store.SyncDir = connection.SyncDir
	}
	j.gcAtStart(ctx, s)
	return s, nil
}

// openSubjects finds out under which subjects batches are stored.
func (j *Journal) openSubjects(ctx context.Context, s *session) error {
	s.shares, s.subjects = store.NewShares(s.store.Exclusive), &partition.Subjects{Layout: &j.layout}
	if s.store.Exclusive {
		return nil
	}
	s.subjects.Count = j.partitions
	return s.store.RetryWhileNoLeader(ctx, func(ctx context.Context) error {
		before, err := partition.IsHeldBefore(ctx, s.state)
		s.subjects.SetBefore(before)
		return err
	})
}

func (j *Journal) openStreams(ctx context.Context, s *session) error {
	opened, err := j.layout.Open(ctx, s.store)
	if err != nil {
		return err
	}
	s.batches, s.remainders, s.dead = opened.Batches, opened.Remainders, opened.Dead
	s.finished = &finished.Marks{Store: s.store, Stream: opened.Finished, Prefix: j.subject(kindFinished, "")}
	if s.store.Exclusive {
		s.lastOfEarlier = opened.Batches.CachedInfo().State.LastSeq
	}
	bounded, end := s.store.WithTimeout(ctx)
	defer end()
	if s.objects, err = s.store.OpenObjects(bounded, j.layout.Bucket(kindObjects), opened.Objects, s.maxMessage); err != nil {
		return err
	}
	s.state, err = s.store.OpenState(bounded, j.layout.Bucket(kindState), opened.State)
	return err
}
