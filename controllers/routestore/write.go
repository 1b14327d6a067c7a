package routestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

var secretKind = corev1.SchemeGroupVersion.WithKind("Secret")

// job is the write of one Secret.
type job struct {
	number   int
	document []byte
	change   int64
}

// write writes everything that is changed when it begins. Until then other changes join the flush.
func (s *Store) write(ctx context.Context, flush *flush) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	s.next = nil
	jobs := s.jobs()
	s.mu.Unlock()
	var errs []error
	for _, job := range jobs {
		if err := s.apply(ctx, job); err != nil {
			errs = append(errs, err)
		}
	}
	flush.err = errors.Join(errs...)
	close(flush.done)
}

// jobs returns the writes of all Secrets that are changed.
func (s *Store) jobs() []job {
	var list []job
	for number, secret := range s.secrets {
		if secret.changed > secret.written {
			list = append(list, job{number, s.document(number), s.changes})
		}
	}
	return list
}

// apply writes one Secret, and overwrites what others wrote.
func (s *Store) apply(ctx context.Context, job job) error {
	name := s.secretName(job.number)
	object := corev1ac.Secret(name.Name, name.Namespace).
		WithLabels(map[string]string{"app.kubernetes.io/managed-by": "mandrill-operator"}).
		WithData(map[string][]byte{routes.Key: job.document})
	if err := s.options.Client.Apply(ctx, object, s.options.Owner, client.ForceOwnership); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	state := &s.secrets[job.number]
	if object.ResourceVersion != nil { // set by the answer
		state.version = *object.ResourceVersion
	}
	state.written = job.change
	for webhook, entry := range s.webhooks {
		s.finishMoves(entry)
		if len(entry.lines) == 0 && s.isWritten(webhook) {
			delete(s.webhooks, webhook)
		}
	}
	return nil
}

// finishMoves removes routes from the Secrets that they left, once the Secret that they moved to has them.
func (s *Store) finishMoves(entry *entry) {
	if entry.change > s.secrets[entry.secret].written {
		return
	}
	for number, left := range entry.left {
		secret := &s.secrets[number]
		switch {
		case left.change == 0:
			s.changes++
			secret.bytes, secret.changed = secret.bytes-len(left.lines), s.changes
			entry.left[number] = leftover{change: s.changes}
		case left.change <= secret.written:
			delete(entry.left, number)
		}
	}
}

// Repair rewrites one of the Secrets if somebody else has changed it.
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
	if differs, err := s.differs(ctx, number); err != nil || !differs {
		return err
	}
	s.mu.Lock()
	if !s.mayRepair() {
		s.mu.Unlock()
		return errShared
	}
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
	now := s.options.Now()
	s.repairs = slices.DeleteFunc(s.repairs, func(at time.Time) bool { return now.Sub(at) >= repairWindow })
	if len(s.repairs) >= maxRepairs {
		return false
	}
	s.repairs = append(s.repairs, now)
	return true
}

// differs reports whether a Secret is not the version that was last written, or is still to be written. It waits for a
// write in flight.
func (s *Store) differs(ctx context.Context, number int) (bool, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	var object metav1.PartialObjectMetadata
	object.SetGroupVersionKind(secretKind)
	err := s.options.Client.Get(ctx, s.secretName(number), &object)
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("reading routes: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.secrets[number]
	return object.ResourceVersion != state.version || state.changed > state.written, nil
}

// Names returns the names of the Secrets.
func (s *Store) Names() []types.NamespacedName {
	var names []types.NamespacedName
	for number := range routes.MaxSecrets {
		names = append(names, s.secretName(number))
	}
	return names
}

// Owns reports whether a Secret is one of the store's.
func (s *Store) Owns(name types.NamespacedName) bool { return slices.Contains(s.Names(), name) }

// IsSecret returns a function that reports whether a Secret is one of those with the routes of the shared receiver.
func IsSecret(first types.NamespacedName) func(types.NamespacedName) bool {
	return func(name types.NamespacedName) bool {
		if name.Namespace != first.Namespace {
			return false
		}
		for number := range routes.MaxSecrets {
			if name.Name == routes.SecretName(first.Name, number) {
				return true
			}
		}
		return false
	}
}
