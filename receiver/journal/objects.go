package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// An event that is too large for a message is an object, to which its message refers. An object is stored before its message,
// and removed after it, so a crash in between leaves garbage (gc.go) and loses nothing.

// putLargeEvent stores an event as a new object and returns the object's name. Only a chunk is in memory twice.
func (s *session) putLargeEvent(ctx context.Context, id string, raw []byte) (string, error) {
	name := id + "-" + nuid.Next()
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
	err := s.putObject(putting, name, reader)
	if err == nil {
		err = ctx.Err() // its message will not be stored
	}
	if err != nil {
		_ = s.removeLargeEvent(putting, name) // the client leaves the metadata when only chunks did not fit
		return "", fmt.Errorf("storing a large event: %w", err)
	}
	return name, s.syncDir(nameOf(s.objects))
}

func (s *session) putObject(ctx context.Context, name string, reader io.Reader) error {
	chunk := uint32(min(maxChunk, s.maxMessage)) //nolint:gosec // it is small
	_, err := s.objectStore.Put(ctx, jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunk}}, fullReader{reader})
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

// removeLargeEvent removes an object, which may be gone. It purges the subjects, because the client's Delete leaves a marker
// forever.
func (s *session) removeLargeEvent(ctx context.Context, name string) error {
	info, err := s.objectInfo(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil
	}
	if err == nil {
		err = errors.Join(s.purgeObject(ctx, chunksOf(info)), s.purgeObject(ctx, metaOf(info.Bucket, name)))
	}
	if err != nil {
		return fmt.Errorf("removing a large event: %w", err)
	}
	return nil
}

func (s *session) purgeObject(ctx context.Context, subject string) error {
	return s.retryWhileNoLeader(ctx, func(ctx context.Context) error {
		return s.objects.Purge(ctx, jetstream.WithPurgeSubject(subject))
	})
}

// The subjects of an object's chunks, and of its metadata, as the client has them.
func chunksOf(info *jetstream.ObjectInfo) string { return "$O." + info.Bucket + ".C." + info.NUID }
func metaOf(bucket, name string) string {
	return "$O." + bucket + ".M." + base64.URLEncoding.EncodeToString([]byte(name))
}

func (s *session) objectInfo(ctx context.Context, name string) (info *jetstream.ObjectInfo, err error) {
	err = s.retryWhileNoLeader(ctx, func(ctx context.Context) error {
		info, err = s.objectStore.GetInfo(ctx, name)
		return err
	})
	return info, err
}

// getLargeEvent reads an event that is an object. It asks the stream leader for each chunk: the client's Get reads from any
// replica, and takes one that lags behind for a damaged object.
func (s *session) getLargeEvent(ctx context.Context, name string) ([]byte, error) {
	info, err := s.objectInfo(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, fmt.Errorf("%w: a large event is gone", errDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a large event: %w", err)
	}
	compressed := make([]byte, 0, info.Size)
	for next := uint64(1); uint64(len(compressed)) < info.Size; {
		chunk, err := s.get(ctx, s.objects, next, jetstream.WithGetMsgSubject(chunksOf(info)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, fmt.Errorf("%w: a chunk of a large event is gone", errDamaged)
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
		return nil, fmt.Errorf("%w: digest mismatch of a large event", errDamaged)
	}
	raw, err := io.ReadAll(s2.NewReader(bytes.NewReader(compressed)))
	if err != nil {
		return nil, fmt.Errorf("%w: a large event cannot be decompressed", errDamaged)
	}
	return raw, nil
}

// copyObject copies an object, of which never more than a chunk is in memory.
func (s *session) copyObject(ctx context.Context, to, from string) error {
	ctx, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	object, err := s.objectStore.Get(ctx, from)
	if err == nil {
		defer object.Close() //nolint:errcheck // read to its end
		err = s.putObject(ctx, to, object)
	}
	if errors.Is(err, jetstream.ErrObjectNotFound) || errors.Is(err, jetstream.ErrDigestMismatch) {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err != nil {
		return fmt.Errorf("copying a large event: %w", err)
	}
	return s.syncDir(nameOf(s.objects))
}
