package journal

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
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// putLarge keeps an event as an object of its own, of which never more than a part is in memory, and returns its name.
func (s *session) putLargeEvent(ctx context.Context, unit *StoredBatch, raw []byte) (string, error) {
	name := unit.Batch + "-" + nuid.Next()
	reader, writer := io.Pipe()
	defer reader.Close() //nolint:errcheck // ends the writer
	go func() {
		compressor := s2.NewWriter(writer)
		_, err := compressor.Write(raw)
		_ = writer.CloseWithError(errors.Join(err, compressor.Close()))
	}()
	// The end of the time is an error of what is read, after which the client takes away what it has stored of it. With a
	// context that has ended it could not.
	defer context.AfterFunc(ctx, func() { _ = writer.CloseWithError(ctx.Err()) })()
	putting, cancel := context.WithTimeout(context.WithoutCancel(ctx), putTimeout)
	defer cancel()
	if err := s.putObject(putting, name, reader); err != nil {
		return "", fmt.Errorf("storing a large event: %w", err)
	}
	return name, s.syncDir(nameOf(s.objects))
}

// maxChunk is the size of an object's parts, of which each is synced.
const maxChunk = 1 << 20

func (s *session) putObject(ctx context.Context, name string, reader io.Reader) error {
	chunk := uint32(min(maxChunk, s.maxMessage)) //nolint:gosec // it is small
	_, err := s.objectStore.Put(ctx, jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunk}}, fullReader{reader})
	return err
}

// whole fills what it is given: of a pipe as much is read as was written at once, and the client makes a part of that.
type fullReader struct{ io.Reader }

func (w fullReader) Read(p []byte) (int, error) {
	n, err := io.ReadFull(w.Reader, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// discard takes away the objects of messages that were not stored, but for one that was there before. If that is not
// possible they are swept.
func (s *session) discardObjects(ctx context.Context, parts []*nats.Msg, but string) {
	for _, msg := range parts {
		if name := msg.Header.Get(headerLarge); name != "" && name != but {
			_ = s.removeLargeEvent(context.WithoutCancel(ctx), name)
		}
	}
}

// removeLarge takes an object away, which may be gone. The client's own way leaves a message for ever.
func (s *session) removeLargeEvent(ctx context.Context, name string) error {
	info, err := s.info(ctx, name)
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

// The subjects of an object, as the client has them: of its parts, and of what is known of it.
func chunksOf(info *jetstream.ObjectInfo) string { return "$O." + info.Bucket + ".C." + info.NUID }
func metaOf(bucket, name string) string {
	return "$O." + bucket + ".M." + base64.URLEncoding.EncodeToString([]byte(name))
}

// putTime bounds storing a large event for those who wait for longer, and taking away what was stored of it.
const putTimeout = time.Minute

func (s *session) info(ctx context.Context, name string) (info *jetstream.ObjectInfo, err error) {
	err = s.retryWhileNoLeader(ctx, func(ctx context.Context) error {
		info, err = s.objectStore.GetInfo(ctx, name)
		return err
	})
	return info, err
}

// getLarge reads it. It asks for each part, because the client's own way reads from a replica, and takes one that lags
// behind for an object that is damaged.
func (s *session) getLargeEvent(ctx context.Context, name string) ([]byte, error) {
	info, err := s.info(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, fmt.Errorf("%w: a large event is gone", errDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a large event: %w", err)
	}
	compressed := make([]byte, 0, info.Size)
	for next := uint64(1); uint64(len(compressed)) < info.Size; {
		part, err := s.get(ctx, s.objects, next, jetstream.WithGetMsgSubject(chunksOf(info)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, fmt.Errorf("%w: a part of a large event is gone", errDamaged)
		}
		if err != nil {
			return nil, fmt.Errorf("reading a large event: %w", err)
		}
		compressed = append(compressed, part.Data...)
		next = part.Sequence + 1
	}
	sum := sha256.New()
	sum.Write(compressed)
	if info.Digest != jetstream.GetObjectDigestValue(sum) {
		return nil, fmt.Errorf("%w: a large event has changed", errDamaged)
	}
	raw, err := io.ReadAll(s2.NewReader(bytes.NewReader(compressed)))
	if err != nil {
		return nil, fmt.Errorf("%w: a large event cannot be decompressed", errDamaged)
	}
	return raw, nil
}
