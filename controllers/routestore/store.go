// Package routestore keeps the routes of all webhooks where the receiver reads them: in as few Secrets as they fit
// into. What is changed at the same time is written at once.
package routestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

const (
	// enough is how much a Secret is filled before the next is begun: some 700 to 1,000 routes. A change costs a write of its
	// Secret and a read by every receiver, so Secrets are kept small as long as there are others.
	enough = 256 << 10
	// full is how much a Secret may hold, less what the document adds to its routes.
	full = corev1.MaxSecretSize - 16
	// growth is the part of a Secret, one in so many, that new webhooks leave to those that are there: a key that was
	// reset must find room whatever others do.
	growth = 8
)

// ErrFull means that no Secret has room for the routes.
var ErrFull = errors.New("the routes Secrets are full")

// Options configures a [Store]. Client, Name and Owner are required.
type Options struct {
	Client       client.Client
	Name         types.NamespacedName // of the first Secret; the others follow from routes.SecretName
	Owner        client.FieldOwner
	Enough, Full int // bytes of routes in a Secret: before the next is begun, at most
	// Webhooks returns the names of all webhooks that there are; what else is found at the start is dropped. Default:
	// nothing is.
	Webhooks func(context.Context) (map[string]bool, error)
}

// Store holds the routes in memory as well and is their only writer: what somebody else writes is overwritten.
type Store struct {
	options Options
	writing sync.Mutex // one write at a time; taken before mu

	mu       sync.Mutex // guards what follows
	loaded   bool
	webhooks map[string]*entry
	secrets  [routes.MaxSecrets]secret
	changes  int64  // number of the last change
	next     *flush // joined by changes until it begins
}

// entry is the routes of one webhook, as they are written. Without any it is removed when that has been written.
type entry struct {
	lines  []byte
	secret int
	change int64
	left   map[int]leftover // by the Secret that had them before
}

// leftover is what a Secret still has of routes that moved to another: their lines, until the other has them, and then
// nothing by a change that is still to be written there.
type leftover struct {
	lines  []byte
	change int64 // 0 until the other has them
}

// secret is the state of one of the Secrets.
type secret struct {
	version string // as this store last wrote or read it; empty when there is none
	bytes   int    // of all lines
	changed int64  // by the change of this number
	written int64  // changes up to this number have been
}

// flush is a write of all that is changed when it begins.
type flush struct {
	done chan struct{}
	err  error
}

// New returns a store.
func New(options Options) *Store {
	if options.Enough == 0 {
		options.Enough = enough
	}
	if options.Full == 0 {
		options.Full = full
	}
	return &Store{options: options, webhooks: map[string]*entry{}}
}

func (s *Store) secretName(number int) types.NamespacedName {
	return types.NamespacedName{Namespace: s.options.Name.Namespace, Name: routes.SecretName(s.options.Name.Name, number)}
}

// Get returns the routes of a webhook.
func (s *Store) Get(ctx context.Context, webhook string) ([]routes.Route, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	current, ok := s.webhooks[webhook]
	if !ok || len(current.lines) == 0 {
		return nil, nil
	}
	document, err := routes.Decode(routes.Join(current.lines))
	if err != nil {
		return nil, fmt.Errorf("decoding routes: %w", err)
	}
	return document.Routes, nil
}

// Set replaces the routes of a webhook, the present one first, and returns when that is written. It reports whether
// anything had to be. No routes remove the webhook.
func (s *Store) Set(ctx context.Context, webhook string, list ...routes.Route) (bool, error) {
	lines, err := routes.Lines(routes.Named(webhook, list...)...)
	if err != nil {
		return false, fmt.Errorf("encoding routes: %w", err)
	}
	s.mu.Lock()
	if err := s.load(ctx); err != nil {
		s.mu.Unlock()
		return false, err
	}
	if err := s.put(webhook, lines); err != nil {
		s.mu.Unlock()
		return false, err
	}
	changed := !s.isWritten(webhook)
	s.mu.Unlock()
	for written := !changed; !written; { // a move takes two writes
		if written, err = s.flush(ctx, webhook); err != nil {
			return false, err
		}
	}
	return changed, nil
}

// flush takes part in a write of all that is changed and tells whether that was all for a webhook.
func (s *Store) flush(ctx context.Context, webhook string) (written bool, err error) {
	s.mu.Lock()
	write, first := s.join()
	s.mu.Unlock()
	if first {
		s.write(ctx, write)
	}
	select {
	case <-write.done:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if written = s.isWritten(webhook); !written && write.err != nil {
		return false, fmt.Errorf("writing routes: %w", write.err)
	}
	return written, nil // whatever became of the others
}

// join returns the next flush, and whether the caller is the one who has to write it.
func (s *Store) join() (write *flush, first bool) {
	if first = s.next == nil; first {
		s.next = &flush{done: make(chan struct{})}
	}
	return s.next, first
}

// isWritten tells whether the Secrets have the routes of a webhook as they are here, and nothing of them elsewhere.
func (s *Store) isWritten(webhook string) bool {
	current, ok := s.webhooks[webhook]
	if !ok {
		return true
	}
	for number, left := range current.left {
		if left.change == 0 || left.change > s.secrets[number].written {
			return false
		}
	}
	return current.change <= s.secrets[current.secret].written
}

// put changes the routes of a webhook in memory, and moves them when their Secret has no room.
func (s *Store) put(webhook string, lines []byte) error {
	current, ok := s.webhooks[webhook]
	if ok && bytes.Equal(current.lines, lines) || !ok && len(lines) == 0 {
		return nil
	}
	if !ok {
		number, err := s.room(len(lines), s.options.Full-s.options.Full/growth)
		if err != nil {
			return err
		}
		current = &entry{secret: number}
		s.webhooks[webhook] = current
	}
	if grown := len(lines) - len(current.lines); grown > 0 && s.secrets[current.secret].bytes+grown > s.options.Full {
		number, err := s.room(len(lines), s.options.Full)
		if err != nil {
			return err
		}
		if current.left == nil {
			current.left = map[int]leftover{}
		}
		current.left[current.secret] = leftover{lines: current.lines} // still counted there
		current.lines, current.secret = nil, number
		s.secrets[number].bytes -= len(current.left[number].lines) // back again
		delete(current.left, number)
	}
	s.changes++
	to := &s.secrets[current.secret]
	to.bytes, to.changed = to.bytes+len(lines)-len(current.lines), s.changes
	current.lines, current.change = lines, s.changes
	return nil
}

// room finds a Secret for lines of some length: the first that is not filled yet, else the one with the most room
// below a limit.
func (s *Store) room(length, limit int) (int, error) {
	least := 0
	for number, secret := range s.secrets {
		if secret.bytes+length <= s.options.Enough {
			return number, nil
		}
		if secret.bytes < s.secrets[least].bytes {
			least = number
		}
	}
	if s.secrets[least].bytes+length > limit {
		return 0, ErrFull
	}
	return least, nil
}

// load reads the Secrets once. One that is not as a store wrote it counts for nothing, because every webhook puts its
// routes again.
func (s *Store) load(ctx context.Context) error {
	if s.loaded {
		return nil
	}
	known, err := s.known(ctx)
	if err != nil {
		return err
	}
	webhooks := map[string]*entry{}
	var secrets [routes.MaxSecrets]secret
	for number := range secrets {
		var object corev1.Secret
		err := s.options.Client.Get(ctx, s.secretName(number), &object)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading routes: %w", err)
		}
		secrets[number].version = object.ResourceVersion
		document, err := routes.Decode(object.Data[routes.Key])
		if err != nil {
			log.FromContext(ctx).Info("Found a routes Secret that somebody spoilt, it is written anew", "secret", object.Name)
			document, secrets[number].changed = &routes.Document{}, 1
		}
		for _, route := range document.Routes {
			lines, err := routes.Lines(route)
			if err != nil {
				return fmt.Errorf("encoding routes: %w", err)
			}
			name := routes.Webhook(route.Name)
			other, ok := webhooks[name]
			if !known(name) || ok && other.secret != number { // of an object that is gone, or left by a move that came to no end
				secrets[number].changed = 1
				if ok {
					other.left[number] = leftover{change: 1}
				}
				continue
			}
			if !ok {
				webhooks[name] = &entry{secret: number, left: map[int]leftover{}}
			}
			webhooks[name].lines = append(webhooks[name].lines, lines...)
			secrets[number].bytes += len(lines)
		}
	}
	s.webhooks, s.secrets, s.changes, s.loaded = webhooks, secrets, 1, true
	return nil
}

// known returns what tells whether there is a webhook.
func (s *Store) known(ctx context.Context) (func(string) bool, error) {
	if s.options.Webhooks == nil {
		return func(string) bool { return true }, nil
	}
	names, err := s.options.Webhooks(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing webhooks: %w", err)
	}
	return func(name string) bool { return names[name] }, nil
}

// document is a Secret's, with its routes in order of name.
func (s *Store) document(number int) []byte {
	var lines [][]byte
	for _, webhook := range slices.Sorted(maps.Keys(s.webhooks)) {
		if current := s.webhooks[webhook]; current.secret == number {
			lines = append(lines, current.lines)
		} else {
			lines = append(lines, current.left[number].lines)
		}
	}
	return routes.Join(lines...)
}
