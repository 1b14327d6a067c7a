package routestore

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

var secretKind = corev1.SchemeGroupVersion.WithKind("Secret")

// maxSent is how many of its last documents the store recognises. A write without an answer may arrive after later ones.
const maxSent = 16

// sum identifies a document.
type sum [sha256.Size]byte

// sending records a document before it is written: nobody may learn that the write has succeeded.
func (s *Store) sending(job job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := &s.secrets[job.number]
	document := sum(sha256.Sum256(job.document))
	state.sent = slices.DeleteFunc(state.sent, func(earlier sum) bool { return earlier == document })
	if len(state.sent) == maxSent {
		state.sent = slices.Delete(state.sent, 0, 1)
	}
	state.sent = append(state.sent, document)
}

// Repair rewrites one of the Secrets if it does not have what the store last wrote. Only changes by somebody else are bounded.
func (s *Store) Repair(ctx context.Context, name types.NamespacedName) error {
	number := slices.IndexFunc(s.Names(), func(other types.NamespacedName) bool { return other == name })
	if number < 0 {
		return nil
	}
	s.mu.Lock()
	err := s.load(ctx)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	found, err := s.inspect(ctx, number)
	if err != nil || found == asWritten {
		return err
	}
	if found == foreign && !s.mayRepair() {
		return errShared
	}
	return s.rewrite(ctx, number)
}

// rewrite writes one of the Secrets although it has not changed, with whatever else is to be written.
func (s *Store) rewrite(ctx context.Context, number int) error {
	s.mu.Lock()
	s.changes++
	s.secrets[number].changed = s.changes
	flush, first := s.join()
	s.mu.Unlock()
	if first {
		s.write(ctx, flush)
	}
	<-flush.done
	if flush.err != nil {
		return fmt.Errorf("writing routes: %w", flush.err)
	}
	return nil
}

// mayRepair counts a repair, and reports whether there were few of late.
func (s *Store) mayRepair() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.options.Now()
	s.repairs = slices.DeleteFunc(s.repairs, func(at time.Time) bool { return now.Sub(at) >= repairWindow })
	if len(s.repairs) >= maxRepairs {
		return false
	}
	s.repairs = append(s.repairs, now)
	return true
}

// finding is what a Secret has.
type finding int

const (
	asWritten finding = iota // what the store last wrote
	outdated                 // something that the store wrote before, or it has a change that is still to be written
	foreign                  // what somebody else wrote, or nothing
)

// inspect returns what a Secret has. It waits for a write in flight. The cache may show an earlier write of the store as if it were
// the last, so that only the API server knows that somebody else has written.
func (s *Store) inspect(ctx context.Context, number int) (finding, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	version, err := s.versionOf(ctx, s.options.Client, number)
	if err != nil {
		return 0, err
	}
	if found, known := s.recognise(number, version); known {
		return found, nil
	}
	if version, err = s.versionOf(ctx, s.options.Live, number); err != nil {
		return 0, err
	}
	if found, known := s.recognise(number, version); known {
		return found, nil
	}
	return s.compare(ctx, number)
}

// versionOf returns the version of a Secret, which is empty without one.
func (s *Store) versionOf(ctx context.Context, from client.Reader, number int) (string, error) {
	var object metav1.PartialObjectMetadata
	object.SetGroupVersionKind(secretKind)
	if err := from.Get(ctx, s.secretName(number), &object); client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("reading routes: %w", err)
	}
	return object.ResourceVersion, nil
}

// recognise returns what a Secret of some version has, if that is the version that the store last wrote or read.
func (s *Store) recognise(number int, version string) (found finding, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.secrets[number]
	if state.changed > state.written {
		found = outdated
	}
	return found, version == state.version
}

// compare returns what a Secret of an unknown version has. A write of the store without an answer is not somebody else's.
func (s *Store) compare(ctx context.Context, number int) (finding, error) {
	var object corev1.Secret
	err := s.options.Live.Get(ctx, s.secretName(number), &object)
	if apierrors.IsNotFound(err) {
		return foreign, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading routes: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	state := &s.secrets[number]
	document := sum(sha256.Sum256(object.Data[routes.Key]))
	at := slices.Index(state.sent, document)
	if at < 0 && document != sha256.Sum256(s.document(number)) || object.Labels[managedBy] != manager {
		return foreign, nil
	}
	state.version = object.ResourceVersion
	if at >= 0 && at < len(state.sent)-1 {
		state.sent = slices.Delete(state.sent, at, at+1) // a write arrives once: the next time somebody else has written the same
		return outdated, nil
	}
	if state.changed > state.written {
		return outdated, nil
	}
	return asWritten, nil
}
