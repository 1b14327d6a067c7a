package routestore

import (
	"context"
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

// The label of the Secrets.
const (
	managedBy = "app.kubernetes.io/managed-by"
	manager   = "mandrill-operator"
)

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
		WithLabels(map[string]string{managedBy: manager}).
		WithData(map[string][]byte{routes.Key: job.document})
	s.sending(job)
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
