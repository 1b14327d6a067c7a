package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go/jetstream"
)

// putLarge keeps an event as an object, of which never more than a part is in memory. One that is there is the same, and
// somebody may be reading it.
func (s *session) putLarge(ctx context.Context, name string, raw []byte) error {
	_, err := s.info(ctx, name)
	if err == nil {
		return nil
	}
	if !errors.Is(err, jetstream.ErrObjectNotFound) {
		return fmt.Errorf("looking for a large event: %w", err)
	}
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
	putting, cancel := context.WithTimeout(context.WithoutCancel(ctx), putTime)
	defer cancel()
	if _, err := s.large.Put(putting, jetstream.ObjectMeta{Name: name}, reader); err != nil {
		return fmt.Errorf("storing a large event: %w", err)
	}
	return s.syncFolder(nameOf(s.objects))
}

// putTime bounds storing a large event for those who wait for longer, and taking away what was stored of it.
const putTime = time.Minute

func (s *session) info(ctx context.Context, name string) (*jetstream.ObjectInfo, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	return s.large.GetInfo(ctx, name)
}

// getLarge reads it. It asks for each part, because the client's own way reads from a replica, and takes one that lags
// behind for an object that is damaged.
func (s *session) getLarge(ctx context.Context, name string) ([]byte, error) {
	info, err := s.info(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, fmt.Errorf("%w: a large event is gone", errDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a large event: %w", err)
	}
	subject := "$O." + info.Bucket + ".C." + info.NUID
	compressed := make([]byte, 0, info.Size)
	for next := uint64(1); uint64(len(compressed)) < info.Size; {
		part, err := s.get(ctx, s.objects, next, jetstream.WithGetMsgSubject(subject))
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
