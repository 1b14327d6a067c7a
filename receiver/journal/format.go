package journal

import (
	"context"
	"errors"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/streams"
)

func (s *session) checkFormat(ctx context.Context) error {
	format := engine.FormatVersion
	if s.subjects.HasPartitions() {
		format = engine.SharedFormatVersion
	}
	return streams.CheckFormat(ctx, s.store, s.state, format)
}

// setBefore says whether an older receiver delivers. Nothing is stored under a partition before the buffer has its mark.
func (s *session) setBefore(delivers bool) {
	if s.subjects.HasPartitions() != delivers {
		return
	}
	if delivers || streams.MarkFormat(s.lifetime, s.store, s.state, engine.SharedFormatVersion) == nil { // else it is tried again
		s.subjects.SetBefore(delivers)
	}
}

// errNewerMessage is for a message in an encoding that a newer receiver has stored while this one runs. It is not damaged.
var errNewerMessage = errors.New("a newer receiver has stored a message that this one cannot read: upgrade this receiver")
