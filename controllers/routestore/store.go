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
)

// ErrFull means that no Secret has room for the routes.
var ErrFull = errors.New("the routes Secrets are full")

// Options configures a [Store]. Client, Name and Owner are required.
type Options struct {
	Client       client.Client
	Name         types.NamespacedName // of the first Secret; the others follow from routes.SecretName
	Owner        client.FieldOwner
	Enough, Full int // bytes of routes in a Secret: before the next is begun, at most
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
}

// secret is the state of one of the Secrets.
type secret struct {
	version string // as this store last wrote or read it; empty when there is none
	bytes   int    // of all lines
	changed int64  // by the change of this number
	written int64  // changes up to this number have been
	gained  bool   // routes of another Secret, which must be here before they go there
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
	if s.isWritten(webhook) {
		s.mu.Unlock()
		return false, nil
	}
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
	if s.isWritten(webhook) { // whatever became of the others
		return true, nil
	}
	return false, fmt.Errorf("writing routes: %w", write.err)
}

// join returns the next flush, and whether the caller is the one who has to write it.
func (s *Store) join() (write *flush, first bool) {
	if first = s.next == nil; first {
		s.next = &flush{done: make(chan struct{})}
	}
	return s.next, first
}

// isWritten tells whether the Secret has the routes of a webhook as they are here.
func (s *Store) isWritten(webhook string) bool {
	current, ok := s.webhooks[webhook]
	return !ok || current.change <= s.secrets[current.secret].written
}

// put changes the routes of a webhook in memory, and moves them when their Secret has no room.
func (s *Store) put(webhook string, lines []byte) error {
	current, ok := s.webhooks[webhook]
	if ok && bytes.Equal(current.lines, lines) || !ok && len(lines) == 0 {
		return nil
	}
	if !ok {
		number, err := s.room(len(lines))
		if err != nil {
			return err
		}
		current = &entry{secret: number}
		s.webhooks[webhook] = current
	}
	s.changes++
	from := &s.secrets[current.secret]
	if grown := len(lines) - len(current.lines); grown > 0 && from.bytes+grown > s.options.Full {
		number, err := s.room(len(lines))
		if err != nil {
			return err
		}
		from.bytes, from.changed = from.bytes-len(current.lines), s.changes
		s.secrets[number].gained = true
		current.lines, current.secret = nil, number
	}
	to := &s.secrets[current.secret]
	to.bytes, to.changed = to.bytes+len(lines)-len(current.lines), s.changes
	current.lines, current.change = lines, s.changes
	return nil
}

// room finds a Secret for lines of some length: the first that is not filled yet, else the one with the most room.
func (s *Store) room(length int) (int, error) {
	least := 0
	for number, secret := range s.secrets {
		if secret.bytes+length <= s.options.Enough {
			return number, nil
		}
		if secret.bytes < s.secrets[least].bytes {
			least = number
		}
	}
	if s.secrets[least].bytes+length > s.options.Full {
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
			if other, ok := webhooks[name]; ok && other.secret != number { // left by a move that came to no end
				secrets[number].changed = 1
				continue
			} else if !ok {
				webhooks[name] = &entry{secret: number}
			}
			webhooks[name].lines = append(webhooks[name].lines, lines...)
			secrets[number].bytes += len(lines)
		}
	}
	s.webhooks, s.secrets, s.changes, s.loaded = webhooks, secrets, 1, true
	return nil
}

// document is a Secret's, with its routes in order of name.
func (s *Store) document(number int) []byte {
	var lines [][]byte
	for _, webhook := range slices.Sorted(maps.Keys(s.webhooks)) {
		if current := s.webhooks[webhook]; current.secret == number {
			lines = append(lines, current.lines)
		}
	}
	return routes.Join(lines...)
}
