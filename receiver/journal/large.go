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
// somebody may be reading it; but when the power failed while it was stored, parts of it may be gone.
func (s *session) putLarge(ctx context.Context, name string, raw []byte) error {
	err := s.readLarge(ctx, name, func([]byte) {})
	if err == nil || !errors.Is(err, errDamaged) {
		return err
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

// readLarge reads it as it is stored. It asks for each part, because the client's own way reads from a replica, and takes one
// that lags behind for an object that is damaged.
func (s *session) readLarge(ctx context.Context, name string, each func(part []byte)) error {
	info, err := s.info(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return fmt.Errorf("%w: a large event is gone", errDamaged)
	}
	if err != nil {
		return fmt.Errorf("reading a large event: %w", err)
	}
	subject := "$O." + info.Bucket + ".C." + info.NUID
	sum, size := sha256.New(), uint64(0)
	for next := uint64(1); size < info.Size; {
		part, err := s.get(ctx, s.objects, next, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return fmt.Errorf("%w: a part of a large event is gone", errDamaged)
		}
		if err != nil {
			return fmt.Errorf("reading a large event: %w", err)
		}
		each(part.Data)
		sum.Write(part.Data)
		size += uint64(len(part.Data))
		next = part.Sequence + 1
	}
	if info.Digest != jetstream.GetObjectDigestValue(sum) {
		return fmt.Errorf("%w: a large event has changed", errDamaged)
	}
	return nil
}

// getLarge returns it.
func (s *session) getLarge(ctx context.Context, name string) ([]byte, error) {
	var compressed []byte
	if err := s.readLarge(ctx, name, func(part []byte) { compressed = append(compressed, part...) }); err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(s2.NewReader(bytes.NewReader(compressed)))
	if err != nil {
		return nil, fmt.Errorf("%w: a large event cannot be decompressed", errDamaged)
	}
	return raw, nil
}
