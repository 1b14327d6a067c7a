package store

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The consumers of a cluster fail in many ways. A scan hands over each message once, in order, or ends with an error. Sleeping takes no time
// here.
func TestScanHeaders(t *testing.T) {
	t.Parallel()
	noResponders := fetch{err: nats.ErrNoResponders}
	for name, c := range map[string]struct {
		consumers []*fakeConsumer // one after the other; the last one is used again and again
		limit     int             // 0: none
		want      []uint64
		next      uint64
		wantErr   error
		took      time.Duration // at most
	}{
		"all":            {consumers: []*fakeConsumer{{fetches: []fetch{{last: 4}}}}, want: []uint64{1, 2, 3, 4}},
		"none":           {consumers: []*fakeConsumer{{empty: true}}},
		"a part":         {consumers: []*fakeConsumer{{fetches: []fetch{{last: 4}}}}, limit: 3, want: []uint64{1, 2, 3}, next: 3},
		"in two fetches": {consumers: []*fakeConsumer{{fetches: []fetch{{last: 2}, {last: 4}}}}, want: []uint64{1, 2, 3, 4}},
		"not known yet": {
			consumers: []*fakeConsumer{{fetches: []fetch{noResponders, noResponders, {last: 4}}}, {}}, want: []uint64{1, 2, 3, 4}, took: time.Second,
		},
		"a message is lost": {consumers: []*fakeConsumer{{fetches: []fetch{{last: 4, lost: 2}}}, {fetches: []fetch{{last: 4}}}}, want: []uint64{1, 2, 3, 4}, took: time.Second},
		"the last ones are lost": {
			consumers: []*fakeConsumer{{fetches: []fetch{{last: 4, lost: 3}, {last: 4}}, end: 3}, {fetches: []fetch{{last: 4}}}}, want: []uint64{1, 2, 3, 4}, took: time.Second,
		},
		"gone": {
			consumers: []*fakeConsumer{{fetches: []fetch{{last: 2}, noResponders}, gone: true}, {fetches: []fetch{{last: 4}}}}, want: []uint64{1, 2, 3, 4}, took: time.Second,
		},
		"removed meanwhile": {consumers: []*fakeConsumer{{fetches: []fetch{{last: 2}, {}}, removed: true}}, want: []uint64{1, 2}, took: time.Second},
		"never known":       {consumers: []*fakeConsumer{{fetches: []fetch{noResponders}}}, wantErr: nats.ErrNoResponders, took: 3 * maxIdle},
		"never sent":        {consumers: []*fakeConsumer{{fetches: []fetch{{}}}}, wantErr: errNotSent, took: 3 * maxIdle},
		"refused":           {consumers: []*fakeConsumer{{fetches: []fetch{{err: nats.ErrPermissionViolation}}}}, wantErr: nats.ErrPermissionViolation},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				stream, begun := &fakeStream{consumers: c.consumers}, time.Now()
				var got []uint64
				next, err := ScanHeaders(t.Context(), stream, ">", 0, func(seq uint64, _ nats.Header) bool {
					got = append(got, seq)
					return len(got) != c.limit
				})
				if !slices.Equal(got, c.want) || next != c.next || !errors.Is(err, c.wantErr) || time.Since(begun) > c.took {
					t.Errorf("got %v after %s, the next after %d, error %v; want %v, %d, %v", got, time.Since(begun), next, err, c.want, c.next, c.wantErr)
				}
				if stream.deleted != stream.created {
					t.Errorf("%d consumers were made and %d deleted", stream.created, stream.deleted)
				}
			})
		})
	}
}

// A scan ends with its context, whatever it waits for.
func TestScanHeadersEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		stream := &fakeStream{consumers: []*fakeConsumer{{fetches: []fetch{{}}}}}
		if _, err := ScanHeaders(ctx, stream, ">", 0, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error is %v", err)
		}
	})
}

// messages is how many messages the stream of a fake has.
const messages = 4

// fakeStream hands out consumers.
type fakeStream struct {
	jetstream.Stream
	consumers        []*fakeConsumer
	created, deleted int
}

func (s *fakeStream) CreateConsumer(ctx context.Context, config jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := *s.consumers[min(s.created, len(s.consumers)-1)]
	s.created++
	c.first = config.OptStartSeq
	c.sent = c.first - 1
	return &c, nil
}

func (s *fakeStream) DeleteConsumer(context.Context, string) error { s.deleted++; return nil }

// fetch is the answer to one: the messages up to a number, without one that is lost on its way.
type fetch struct {
	last, lost uint64
	err        error
}

// fakeConsumer answers as it is told. The last fetch is repeated.
type fakeConsumer struct {
	jetstream.Consumer
	fetches     []fetch
	empty       bool   // the stream has no messages
	removed     bool   // those that were not sent are removed
	gone        bool   // nobody answers for it
	end         uint64 // messages from here on are sent, and do not arrive
	first, sent uint64
}

func (c *fakeConsumer) info() *jetstream.ConsumerInfo {
	info := &jetstream.ConsumerInfo{Name: "fake", NumPending: messages - c.sent, Delivered: jetstream.SequenceInfo{Consumer: c.sent + 1 - c.first}}
	if c.empty || c.removed && c.sent >= c.first {
		info.NumPending = 0
	}
	return info
}

func (c *fakeConsumer) CachedInfo() *jetstream.ConsumerInfo { return c.info() }

func (c *fakeConsumer) Info(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	if c.gone {
		return nil, jetstream.ErrConsumerNotFound
	}
	return c.info(), ctx.Err()
}

func (c *fakeConsumer) FetchNoWait(int) (jetstream.MessageBatch, error) {
	answer := c.fetches[0]
	c.fetches = c.fetches[min(1, len(c.fetches)-1):]
	batch := &fakeBatch{err: answer.err, messages: make(chan jetstream.Msg, messages)}
	defer close(batch.messages)
	for c.sent < answer.last {
		c.sent++
		if c.sent != answer.lost && (c.end == 0 || c.sent < c.end) {
			batch.messages <- fakeMessage{seq: jetstream.SequencePair{Consumer: c.sent + 1 - c.first, Stream: c.sent}}
		}
	}
	return batch, nil
}

type fakeBatch struct {
	messages chan jetstream.Msg
	err      error
}

func (b *fakeBatch) Messages() <-chan jetstream.Msg { return b.messages }
func (b *fakeBatch) Error() error                   { return b.err }

type fakeMessage struct {
	jetstream.Msg
	seq jetstream.SequencePair
}

func (m fakeMessage) Headers() nats.Header { return nil }

func (m fakeMessage) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Sequence: m.seq, NumPending: messages - m.seq.Stream}, nil
}
