package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	// putTimeout bounds storing an object, and removing what was stored of it.
	putTimeout = time.Minute
	// CopyTimeout bounds copying one.
	CopyTimeout = 5 * time.Minute
	// maxChunk is the size of an object's chunks. Each chunk is synced.
	maxChunk = 1 << 20
)

// ErrDamaged is returned for a message or an object that is not as it was written.
var ErrDamaged = errors.New("a message of the buffer is damaged")

// Objects are events that are too large for a message.
type Objects struct {
	Stream jetstream.Stream
	store  *Store
	bucket jetstream.ObjectStore
	chunk  uint32
}

// OpenObjects opens the objects of a bucket, whose stream exists. A message has at most maxMessage bytes.
func (s *Store) OpenObjects(ctx context.Context, bucket string, stream jetstream.Stream, maxMessage int) (*Objects, error) {
	opened, err := s.JetStream.ObjectStore(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("opening the store of large events: %w", err)
	}
	return &Objects{Stream: stream, store: s, bucket: opened, chunk: uint32(min(maxChunk, maxMessage))}, nil //nolint:gosec // it is small
}

// NewName returns a name for an object of a batch. Each attempt to store one has a name of its own: another may be read meanwhile.
func NewName(id string) string { return id + "-" + nuid.Next() }

// Put stores an event as an object. Only a chunk is in memory twice.
func (o *Objects) Put(ctx context.Context, name string, raw []byte) error {
	reader, writer := io.Pipe()
	defer reader.Close() //nolint:errcheck // ends the writer
	go func() {
		compressor := s2.NewWriter(writer)
		_, err := compressor.Write(raw)
		_ = writer.CloseWithError(errors.Join(err, compressor.Close()))
	}()
	// When ctx ends, reading fails, and the client removes the chunks that it has stored. It could not if its own context had ended.
	defer context.AfterFunc(ctx, func() { _ = writer.CloseWithError(ctx.Err()) })()
	putting, cancel := context.WithTimeout(context.WithoutCancel(ctx), putTimeout)
	defer cancel()
	err := o.put(putting, name, reader)
	if err == nil {
		err = ctx.Err() // its message will not be stored
	}
	if err != nil {
		_ = o.Remove(putting, name) // the client leaves the metadata when only chunks did not fit
		return fmt.Errorf("storing a large event: %w", err)
	}
	return o.store.SyncDir(NameOf(o.Stream))
}

func (o *Objects) put(ctx context.Context, name string, reader io.Reader) error {
	_, err := o.bucket.Put(ctx, jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: o.chunk}}, fullReader{reader})
	return err
}

// fullReader fills the buffer of each read: the client makes a chunk of what a read returns, and a pipe returns what was written
// at once.
type fullReader struct{ io.Reader }

func (r fullReader) Read(p []byte) (int, error) {
	n, err := io.ReadFull(r.Reader, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// Remove removes an object, which may be gone. It purges the subjects, because the client's Delete leaves a marker
// forever.
func (o *Objects) Remove(ctx context.Context, name string) error {
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

// Get reads an event that is an object. It asks the stream leader for each chunk: the client's Get reads from any
// replica, and takes one that lags behind for a damaged object.
func (o *Objects) Get(ctx context.Context, name string) ([]byte, error) {
	info, err := o.info(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, fmt.Errorf("%w: a large event is gone", ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a large event: %w", err)
	}
	compressed := make([]byte, 0, info.Size)
	for next := uint64(1); uint64(len(compressed)) < info.Size; {
		chunk, err := o.store.Get(ctx, o.Stream, next, jetstream.WithGetMsgSubject(chunksOf(info)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, fmt.Errorf("%w: a chunk of a large event is gone", ErrDamaged)
		}
		if err != nil {
			return nil, fmt.Errorf("reading a large event: %w", err)
		}
		compressed = append(compressed, chunk.Data...)
		next = chunk.Sequence + 1
	}
	sum := sha256.New()
	sum.Write(compressed)
	if info.Digest != jetstream.GetObjectDigestValue(sum) {
		return nil, fmt.Errorf("%w: digest mismatch of a large event", ErrDamaged)
	}
	raw, err := io.ReadAll(s2.NewReader(bytes.NewReader(compressed)))
	if err != nil {
		return nil, fmt.Errorf("%w: a large event cannot be decompressed", ErrDamaged)
	}
	return raw, nil
}

// Copy copies an object, of which never more than a chunk is in memory.
func (o *Objects) Copy(ctx context.Context, to, from string) error {
	ctx, cancel := context.WithTimeout(ctx, CopyTimeout)
	defer cancel()
	object, err := o.bucket.Get(ctx, from)
	if err == nil {
		defer object.Close() //nolint:errcheck // read to its end
		err = o.put(ctx, to, object)
	}
	if errors.Is(err, jetstream.ErrObjectNotFound) || errors.Is(err, jetstream.ErrDigestMismatch) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return fmt.Errorf("copying a large event: %w", err)
	}
	return o.store.SyncDir(NameOf(o.Stream))
}
