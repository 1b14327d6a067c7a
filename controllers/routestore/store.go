// Package routestore keeps the routes of all webhooks in the Secrets that the receiver reads, as few of them as the routes
// fit into. Changes that are made at the same time share a write.
package routestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

const (
	// softLimit is how many bytes of routes a Secret gets before the next one is used: some 700 to 1,000 routes. A change
	// costs a write of its Secret and a read by every receiver, so Secrets stay small as long as there are others.
	softLimit = 256 << 10
	// hardLimit is how many bytes of routes fit into a Secret, less what the document adds to them.
	hardLimit = corev1.MaxSecretSize - 16
	// 1/growthShare of a Secret is for existing webhooks only: one whose key was reset
	// must find room however many webhooks are new.
	growthShare = 8
	// maxRepairs is how many changes by others are reverted within repairWindow. Two operators with the same Secrets would revert
	// each other's as fast as they can.
	maxRepairs   = 10
	repairWindow = time.Minute
)

// errShared is for the log: no object is to blame.
var errShared = errors.New("somebody else rewrites the routes Secrets again and again, such as another operator: give each operator and its receiver a --routes-secret of its own")

var (
	// ErrFull means that no Secret has room for the routes.
	ErrFull = errors.New("the routes Secrets are full")
	// ErrNamespaceFull means that the routes of a namespace have as many bytes as it may have.
	ErrNamespaceFull = errors.New("the namespace has no room for more routes")
)

// Options configures a [Store]. Client, Name and Owner are required.
type Options struct {
	Client client.Client
	// Live reads what the API server has now. The client's answers about a Secret's metadata come from a cache, which lags behind.
	// Default: Client.
	Live  client.Reader
	Name  types.NamespacedName // of the first Secret; the others follow from routes.SecretName
	Owner client.FieldOwner
	// SoftLimit and HardLimit are how many bytes of routes a Secret gets before the next one is used, and at most. Default:
	// 256 KiB, and what fits into a Secret.
	SoftLimit, HardLimit int
	// NamespaceLimit is how many bytes the routes of all webhooks of a namespace may have. Default: no limit.
	NamespaceLimit int
	// Now is the time; default time.Now.
	Now func() time.Time
	// Webhooks returns the names of webhooks, and whether each exists and is this installation's. Routes of others are dropped when the
	// Secrets are loaded.
	// Default: none are.
	Webhooks func(context.Context) (map[string]bool, error)
}

// Store holds the routes in memory too and is the only writer of the Secrets: it overwrites what others write.
type Store struct {
	options Options
	writing sync.Mutex // one write at a time; taken before mu

	mu       sync.Mutex // guards what follows
	loaded   bool
	webhooks map[string]*entry
	spaces   map[string]int // bytes of all lines, by namespace
	secrets  [routes.MaxSecrets]secret
	changes  int64       // number of the last change
	next     *flush      // shared by all changes until it begins
	repairs  []time.Time // that were made within the last minute
}

// entry is the routes of one webhook, encoded. An entry without routes is removed once that has been written.
type entry struct {
	lines  []byte
	secret int
	change int64
	left   map[int]leftover // in other Secrets, by their number
}

// leftover is a copy of routes in the Secret that they move away from. It keeps the lines until the other Secret has them;
// then it keeps the number of the change that removes them here.
type leftover struct {
	lines  []byte
	change int64 // 0 until the other Secret has them
}

// secret is the state of one of the Secrets.
type secret struct {
	version string // that this store last wrote or read; empty without a Secret
	bytes   int    // of all lines
	changed int64  // number of its last change
	written int64  // number of the last change that has been written
	sent    []sum  // of the last documents that this store wrote or tried to write, oldest first
}

// flush is a write of everything that is changed when it begins.
type flush struct {
	done chan struct{}
	err  error
}

// New returns a store.
func New(options Options) *Store {
	if options.SoftLimit == 0 {
		options.SoftLimit = softLimit
	}
	if options.HardLimit == 0 {
		options.HardLimit = hardLimit
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Live == nil {
		options.Live = options.Client
	}
	return &Store{options: options, webhooks: map[string]*entry{}, spaces: map[string]int{}}
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

// Set replaces the routes of a webhook, the present one first, and returns once they are written. It reports whether
// anything had to be written. Without routes the webhook is removed.
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
	if err := s.update(webhook, lines); err != nil {
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

// flush takes part in the next write and reports whether everything of a webhook is written after it.
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
	return written, nil // errors of other Secrets do not concern this webhook
}

// join returns the next flush, and whether the caller has to write it.
func (s *Store) join() (write *flush, first bool) {
	if first = s.next == nil; first {
		s.next = &flush{done: make(chan struct{})}
	}
	return s.next, first
}

// isWritten reports whether the routes of a webhook are written to their Secret and removed from all others.
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

// update changes the routes of a webhook in memory, and moves them to another Secret if theirs has no room.
func (s *Store) update(webhook string, lines []byte) error {
	current, ok := s.webhooks[webhook]
	if ok && bytes.Equal(current.lines, lines) || !ok && len(lines) == 0 {
		return nil
	}
	if err := s.checkNamespace(webhook, len(lines), current); err != nil {
		return err
	}
	if !ok {
		number, err := s.pickSecret(len(lines), s.options.HardLimit-s.options.HardLimit/growthShare)
		if err != nil {
			return err
		}
		current = &entry{secret: number}
		s.webhooks[webhook] = current
	}
	was := len(current.lines)
	if grown := len(lines) - was; grown > 0 && s.secrets[current.secret].bytes+grown > s.options.HardLimit {
		number, err := s.pickSecret(len(lines), s.options.HardLimit)
		if err != nil {
			return err
		}
		if current.left == nil {
			current.left = map[int]leftover{}
		}
		current.left[current.secret] = leftover{lines: current.lines} // counted there until it is removed
		current.lines, current.secret = nil, number
		s.secrets[number].bytes -= len(current.left[number].lines) // they move back
		delete(current.left, number)
	}
	s.changes++
	s.spaces[namespaceOf(webhook)] += len(lines) - was
	to := &s.secrets[current.secret]
	to.bytes, to.changed = to.bytes+len(lines)-len(current.lines), s.changes
	current.lines, current.change = lines, s.changes
	return nil
}

// checkNamespace refuses routes by which a namespace would have more bytes than it may have. As in a Secret, a share is
// for webhooks that exist.
func (s *Store) checkNamespace(webhook string, length int, current *entry) error {
	limit, grown := s.options.NamespaceLimit, length
	if current != nil {
		grown -= len(current.lines)
	} else {
		limit -= limit / growthShare
	}
	if s.options.NamespaceLimit > 0 && grown > 0 && s.spaces[namespaceOf(webhook)]+grown > limit {
		return ErrNamespaceFull
	}
	return nil
}

// namespaceOf returns the namespace of a webhook, which is named NAMESPACE/NAME.
func namespaceOf(webhook string) string {
	namespace, _, _ := strings.Cut(webhook, "/")
	return namespace
}

// pickSecret returns the Secret for lines of some length: the first that stays below the soft limit, else the smallest if
// it stays below the given limit.
func (s *Store) pickSecret(length, limit int) (int, error) {
	least := 0
	for number, secret := range s.secrets {
		if secret.bytes+length <= s.options.SoftLimit {
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

// load reads the Secrets once. A Secret that cannot be decoded is rewritten without its routes, because every webhook sets
// its routes again.
func (s *Store) load(ctx context.Context) error {
	if s.loaded {
		return nil
	}
	exists, err := s.existing(ctx)
	if err != nil {
		return err
	}
	webhooks, spaces := map[string]*entry{}, map[string]int{}
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
		data, ok := object.Data[routes.Key]
		if !ok { // receivers are not ready until there is one
			secrets[number].changed = 1
		}
		document, err := routes.Decode(data)
		if err != nil {
			log.FromContext(ctx).Info("Found a routes Secret that cannot be decoded, rewriting it", "secret", object.Name)
			document, secrets[number].changed = &routes.Document{}, 1
		}
		for _, route := range document.Routes {
			lines, err := routes.Lines(route)
			if err != nil {
				return fmt.Errorf("encoding routes: %w", err)
			}
			name := routes.Webhook(route.Name)
			other, ok := webhooks[name]
			if !exists(name) || ok && other.secret != number { // of an object that is gone, or left by a move that was interrupted
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
			spaces[namespaceOf(name)] += len(lines)
		}
	}
	s.webhooks, s.spaces, s.secrets, s.changes, s.loaded = webhooks, spaces, secrets, 1, true
	return nil
}

// existing returns a function that reports whether a webhook exists.
func (s *Store) existing(ctx context.Context) (func(string) bool, error) {
	if s.options.Webhooks == nil {
		return func(string) bool { return true }, nil
	}
	names, err := s.options.Webhooks(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing webhooks: %w", err)
	}
	return func(name string) bool { return names[name] }, nil
}

// document returns the document of a Secret, with its routes in order of name.
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
