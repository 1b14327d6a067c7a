package store

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	// cleanTimeout bounds removing what was stored of an object.
	cleanTimeout = time.Minute
	// CopyTimeout bounds copying one.
	CopyTimeout = 5 * time.Minute
	// maxChunk is the size of an object's chunks. Each chunk is synced.
	maxChunk = 1 << 20
	// maxObject bounds the memory that is allocated for an object before its bytes are there.
	maxObject = 256 << 20
)

// ErrDamaged is returned for a message or an object that is not as it was written.
var ErrDamaged = errors.New("a message of the buffer is damaged")

// Objects are events that are too large for a message.
type Objects struct {
	Stream     jetstream.Stream
	store      *Store
	bucket     jetstream.ObjectStore
	bucketName string
	chunk      uint32
	recent     recentEvents
}

// OpenObjects opens the objects of a bucket, whose stream exists. A message has at most maxMessage bytes.
func (s *Store) OpenObjects(ctx context.Context, bucket string, stream jetstream.Stream, maxMessage int) (*Objects, error) {
	opened, err := s.JetStream.ObjectStore(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("opening the store of large events: %w", err)
	}
	chunk := uint32(min(maxChunk, maxMessage)) //nolint:gosec // it is small
	return &Objects{Stream: stream, store: s, bucket: opened, bucketName: bucket, chunk: chunk}, nil
}

// NewName returns a name for an object of a batch. Each attempt to store one has a name of its own: another may be read meanwhile.
func NewName(id string) string { return id + "-" + nuid.Next() }

// Put stores an event as an object. Until it is delivered, or its memory is needed, Get returns raw itself: it must not change.
func (o *Objects) Put(ctx context.Context, name string, raw []byte) error {
	err := o.put(ctx, name, func(chunks io.Writer) error {
		compressor := s2.NewWriter(chunks, s2.WriterConcurrency(1), s2.WriterBlockSize(int(o.chunk)/2)) // below a chunk, see put
		_, err := compressor.Write(raw)
		return errors.Join(err, compressor.Close())
	})
	if err != nil {
		return fmt.Errorf("storing a large event: %w", err)
	}
	o.recent.add(name, raw)
	return o.store.SyncDir(NameOf(o.Stream))
}

// put stores an object as the client's Put does, except that it sends a chunk after the server has stored the one before: the
// client sends all of them at once, and the server has a copy of each in memory until it is on disk.
func (o *Objects) put(ctx context.Context, name string, write func(chunks io.Writer) error) error {
	info := jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: o.chunk}}, Bucket: o.bucketName, NUID: nuid.Next(),
	}
	meta, sum := metaOf(info.Bucket, name), sha256.New()
	publish := writerFunc(func(chunk []byte) (int, error) {
		sum.Write(chunk)
		info.Size, info.Chunks = info.Size+uint64(len(chunk)), info.Chunks+1
		_, err := o.store.JetStream.PublishMsg(ctx, &nats.Msg{Subject: chunksOf(&info), Data: chunk})
		return len(chunk), err
	})
	chunks := bufio.NewWriterSize(publish, int(o.chunk)) // passes on full chunks as long as no write is larger
	err := write(chunks)
	if err == nil {
		err = chunks.Flush()
	}
	if err == nil {
		info.Digest = jetstream.GetObjectDigestValue(sum)
		var encoded []byte
		if encoded, err = json.Marshal(info); err == nil {
			_, err = o.store.JetStream.PublishMsg(ctx, &nats.Msg{Subject: meta, Data: encoded})
		}
	}
	if err == nil {
		err = ctx.Err() // its message will not be stored
	}
	if err != nil {
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
		defer cancel()
		_, _ = o.Purge(cleaning, meta), o.Purge(cleaning, chunksOf(&info)) // else it is garbage (package gc)
	}
	return err
}

// writerFunc is a function as an [io.Writer].
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(data []byte) (int, error) { return f(data) }

// Remove removes an object, which may be gone. It purges the subjects, because the client's Delete leaves a marker
// forever.
func (o *Objects) Remove(ctx context.Context, name string) error {
	o.recent.forget(name)
	subjects, err := o.Subjects(ctx, name)
	for _, subject := range subjects {
		err = errors.Join(err, o.Purge(ctx, subject))
	}
	if err != nil {
		return fmt.Errorf("removing a large event: %w", err)
	}
	return nil
}

// Erase removes an object, which may be gone, and overwrites it on disk.
func (o *Objects) Erase(ctx context.Context, name string) error {
	o.recent.forget(name)
	subjects, err := o.Subjects(ctx, name)
	for _, subject := range subjects {
		err = errors.Join(err, o.store.Scan(ctx, o.Stream, subject, func(msg *jetstream.RawStreamMsg) error {
			return o.store.Erase(ctx, o.Stream, msg.Sequence)
		}))
	}
	if err != nil {
		return fmt.Errorf("erasing a large event: %w", err)
	}
	return nil
}

// Purge removes a subject of an object.
func (o *Objects) Purge(ctx context.Context, subject string) error {
	return o.store.RetryWhileNoLeader(ctx, func(ctx context.Context) error {
		return o.Stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
	})
}

// The subjects of an object's chunks, and of its metadata, as the client has them.
func chunksOf(info *jetstream.ObjectInfo) string { return "$O." + info.Bucket + ".C." + info.NUID }
func metaOf(bucket, name string) string {
	return "$O." + bucket + ".M." + base64.URLEncoding.EncodeToString([]byte(name))
}

// Subjects returns the subjects of an object, none when it is gone.
func (o *Objects) Subjects(ctx context.Context, name string) ([]string, error) {
	info, err := o.info(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for a large event: %w", err)
	}
	return []string{metaOf(info.Bucket, name), chunksOf(info)}, nil
}

func (o *Objects) info(ctx context.Context, name string) (info *jetstream.ObjectInfo, err error) {
	err = o.store.RetryWhileNoLeader(ctx, func(ctx context.Context) error {
		info, err = o.bucket.GetInfo(ctx, name)
		return err
	})
	return info, err
}

// Get reads an event that is an object, of about so many bytes. It asks the stream leader for each chunk: the client's Get reads
// from any replica, and takes one that lags behind for a damaged object.
func (o *Objects) Get(ctx context.Context, name string, size int64) ([]byte, error) {
	if raw := o.recent.get(name); raw != nil {
		return raw, nil
	}
	info, err := o.info(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, fmt.Errorf("%w: a large event is gone", ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a large event: %w", err)
	}
	chunks, sum := o.chunks(ctx, info), sha256.New()
	raw := bytes.NewBuffer(make([]byte, 0, min(max(size, 0), maxObject)+bytes.MinRead)) // so that it need not grow
	_, err = raw.ReadFrom(s2.NewReader(io.TeeReader(chunks, sum), s2.ReaderMaxBlockSize(maxChunk)))
	switch {
	case chunks.err != nil:
		return nil, chunks.err
	case err != nil:
		return nil, fmt.Errorf("%w: a large event cannot be decompressed", ErrDamaged)
	case info.Digest != jetstream.GetObjectDigestValue(sum):
		return nil, fmt.Errorf("%w: digest mismatch of a large event", ErrDamaged)
	}
	o.recent.add(name, raw.Bytes())
	return raw.Bytes(), nil
}

// chunkReader reads the chunks of an object, one at a time.
type chunkReader struct {
	next  func() ([]byte, error)
	chunk []byte
	left  uint64
	err   error // of next
}

func (o *Objects) chunks(ctx context.Context, info *jetstream.ObjectInfo) *chunkReader {
	seq := uint64(1)
	return &chunkReader{left: info.Size, next: func() ([]byte, error) {
		msg, err := o.store.Get(ctx, o.Stream, seq, jetstream.WithGetMsgSubject(chunksOf(info)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, fmt.Errorf("%w: a chunk of a large event is gone", ErrDamaged)
		}
		if err != nil {
			return nil, fmt.Errorf("reading a large event: %w", err)
		}
		seq = msg.Sequence + 1
		return msg.Data, nil
	}}
}

func (r *chunkReader) Read(p []byte) (n int, err error) {
	for len(r.chunk) == 0 {
		if r.left == 0 {
			return 0, io.EOF
		}
		if r.chunk, r.err = r.next(); r.err != nil {
			return 0, r.err
		}
		r.left -= min(r.left, uint64(len(r.chunk)))
	}
	n = copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	return n, nil
}

// Copy copies an object, of which never more than a chunk is in memory.
func (o *Objects) Copy(ctx context.Context, to, from string) error {
	ctx, cancel := context.WithTimeout(ctx, CopyTimeout)
	defer cancel()
	object, err := o.bucket.Get(ctx, from)
	if err == nil {
		defer object.Close() //nolint:errcheck // read to its end
		err = o.put(ctx, to, func(chunks io.Writer) error { _, err := io.Copy(chunks, object); return err })
	}
	if errors.Is(err, jetstream.ErrObjectNotFound) || errors.Is(err, jetstream.ErrDigestMismatch) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return fmt.Errorf("copying a large event: %w", err)
	}
	return o.store.SyncDir(NameOf(o.Stream))
}
