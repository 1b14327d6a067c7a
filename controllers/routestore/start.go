package routestore

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	// startRetry is the time between two attempts of [Store.Start].
	startRetry = 5 * time.Second
	// startGrace is how long webhooks have to write their routes before an empty document is written.
	startGrace = time.Minute
)

// Start writes a document if there is none yet, and returns once there is one: without a document a receiver is not ready, and
// where there are no webhooks nothing else would write one. Webhooks that exist get some time to write their routes first, because
// a receiver with an empty document would answer their batches with 404.
func (s *Store) Start(ctx context.Context) error {
	started := time.Now()
	for {
		done, err := s.ensure(ctx, time.Since(started) >= startGrace)
		if err != nil {
			log.FromContext(ctx).Error(err, "Could not write the first routes document, trying again")
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(startRetry):
		}
	}
}

// ensure reports whether there is a document and everything is written. If not, it writes, unless it should wait for webhooks.
func (s *Store) ensure(ctx context.Context, impatient bool) (done bool, err error) {
	s.mu.Lock()
	if err := s.load(ctx); err != nil {
		s.mu.Unlock()
		return false, err
	}
	done = s.secrets[0].version != "" && len(s.jobs()) == 0
	s.mu.Unlock()
	if done {
		return true, nil
	}
	if !impatient {
		none, err := s.noWebhooks(ctx)
		if err != nil || !none {
			return false, err
		}
	}
	if err := s.rewrite(ctx, 0); err != nil {
		return false, err
	}
	return true, nil
}

// noWebhooks reports whether there are no webhooks, except those of other installations.
func (s *Store) noWebhooks(ctx context.Context) (bool, error) {
	if s.options.Webhooks == nil {
		return true, nil
	}
	names, err := s.options.Webhooks(ctx)
	if err != nil {
		return false, fmt.Errorf("listing webhooks: %w", err)
	}
	for _, ours := range names {
		if ours {
			return false, nil
		}
	}
	return true, nil
}
