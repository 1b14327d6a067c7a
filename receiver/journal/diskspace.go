package journal

import (
	"fmt"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// diskCheckInterval is how often the free space of the buffer's volume is checked.
const diskCheckInterval = time.Second

// claimDisk claims disk space for a message until done is called. The error is [ErrFull], wrapped.
func (s *session) claimDisk(bytes int64, share engine.Share) (done func(), err error) {
	done, err = s.disk.Claim(bytes, share)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFull, err)
	}
	return done, nil
}

// checkDisk reserves disk space when there is some, and logs when space becomes scarce and when it no longer is.
func (j *Journal) checkDisk(s *session) {
	if s.disk == nil {
		return
	}
	allocateErr := s.disk.Allocate()
	j.metrics.Free.WithLabelValues().Set(float64(s.disk.FreeForBatches()))
	low := !s.disk.HasSlack()
	switch {
	case low == s.diskLow:
	case low && allocateErr != nil:
		j.logger.Warn("Buffer volume is nearly full, refusing batches that do not fit", "error", allocateErr.Error())
	case low:
		j.logger.Warn("Buffer volume is nearly full, refusing batches that do not fit")
	default:
		j.logger.Info("Buffer volume has free space again")
	}
	s.diskLow = low
}
