package ui

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/cli/overview"
	"github.com/mandrill-operator/mandrill-operator/version"
)

const (
	// findPause is between two looks for receivers: pods that are replaced may have other names.
	findPause = 5 * time.Second
	// headerTimeout bounds the headers of a request. A stream has no bound.
	headerTimeout = 10 * time.Second
)

// installation is the page of all receivers.
type installation struct {
	pages *pages

	mu      sync.Mutex
	members map[string]*member
}

// member is a receiver of the installation. The mutex of the installation guards it.
type member struct {
	receiver access.Receiver
	buffer   string
	client   *http.Client // nil while it cannot be reached
	problem  string
	tried    chan struct{} // closed after the first attempt
	known    bool          // it was reached
	end      context.CancelFunc
}

// all serves the page of all receivers until ctx ends.
func (p *pages) all(ctx context.Context, receivers []access.Receiver, port int) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return &access.PortError{Port: port}
	}
	defer listener.Close() //nolint:errcheck // the server has closed it
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	i, secret := &installation{pages: p, members: map[string]*member{}}, rand.Text()
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	i.set(ctx, receivers, &work)
	if err := i.firstAttempts(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	page := overview.New(overview.Options{Receivers: i.receivers, Version: version.Get().Version, Logger: slog.New(slog.DiscardHandler)})
	server := &http.Server{Handler: withSecret(page, secret), ReadHeaderTimeout: headerTimeout, BaseContext: func(net.Listener) context.Context { return ctx }}
	work.Go(func() { i.find(ctx, &work) })
	context.AfterFunc(ctx, func() { _ = server.Close() })
	p.show(ctx, fmt.Sprintf("http://%s/?key=%s", listener.Addr(), secret), i.names())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the page: %w", err)
	}
	return i.result()
}

// result is a status if a receiver was never reached.
func (i *installation) result() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, m := range i.members {
		if !m.known {
			return &output.StatusError{Status: output.StatusIncomplete}
		}
	}
	return nil
}

// set takes the receivers of the moment: it connects to those that are new, and forgets those that are gone.
func (i *installation) set(ctx context.Context, receivers []access.Receiver, work *sync.WaitGroup) {
	i.mu.Lock()
	defer i.mu.Unlock()
	found := map[string]bool{}
	for _, receiver := range receivers {
		name := receiver.String()
		found[name] = true
		m := i.members[name]
		if m == nil {
			m = &member{tried: make(chan struct{}), problem: "connecting"}
			i.members[name] = m
			bounded, cancel := context.WithCancel(ctx)
			m.end = cancel
			work.Go(func() { i.keep(bounded, m) })
		}
		m.receiver, m.buffer = receiver, ""
	}
	for _, buffer := range access.Buffers(receivers) {
		for _, receiver := range buffer.Receivers {
			i.members[receiver.String()].buffer = buffer.Name
		}
	}
	for name, m := range i.members {
		if !found[name] {
			m.end()
			delete(i.members, name)
		}
	}
}

// find looks for receivers from time to time. Those that are known stay when the API server does not answer.
func (i *installation) find(ctx context.Context, work *sync.WaitGroup) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(i.pages.findPause):
		}
		receivers, err := i.pages.cluster.Receivers(ctx, &i.pages.env.Flags, i.pages.cluster.Namespace)
		if err == nil {
			i.set(ctx, receivers, work)
		}
	}
}

// firstAttempts waits until each receiver was tried, and returns an error if none was reached.
func (i *installation) firstAttempts(ctx context.Context) error {
	i.mu.Lock()
	members := make([]*member, 0, len(i.members))
	for _, m := range i.members {
		members = append(members, m)
	}
	i.mu.Unlock()
	slices.SortFunc(members, func(a, b *member) int { return cmp.Compare(a.receiver.String(), b.receiver.String()) })
	var errs []error
	for _, m := range members {
		select {
		case <-ctx.Done():
			return nil
		case <-m.tried:
		}
		i.mu.Lock()
		if m.client == nil {
			errs = append(errs, errors.New(m.problem))
		}
		i.mu.Unlock()
	}
	if len(errs) == len(members) {
		return errors.Join(errs...)
	}
	for _, err := range errs {
		i.pages.say(i.pages.env.Err, "kubectl mandrill: %v\n", err)
	}
	return nil
}

// keep keeps a connection to a receiver until ctx ends.
func (i *installation) keep(ctx context.Context, m *member) {
	for {
		err := i.connect(ctx, m)
		if ctx.Err() != nil {
			return
		}
		i.lost(m, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(i.pages.pause):
		}
	}
}

// connect connects to the page of a receiver until the connection is lost.
func (i *installation) connect(ctx context.Context, m *member) error {
	i.mu.Lock()
	receiver := m.receiver
	i.mu.Unlock()
	port, err := receiver.PagePort()
	switch {
	case err != nil:
		return err
	case port == 0:
		return fmt.Errorf("the receiver %s serves no page: set receiver.page.enabled=true in the values of the chart, or --page-listen", receiver)
	}
	return i.pages.cluster.Tunnel(ctx, receiver, port, func(dial access.Dial) { i.reached(m, dial) })
}

// reached notes that a receiver can be asked.
func (i *installation) reached(m *member, dial access.Dial) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if m.known {
		i.pages.say(i.pages.env.Err, "%s can be reached again\n", m.receiver)
	}
	m.known, m.problem = true, ""
	m.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }, ResponseHeaderTimeout: 2 * time.Minute,
	}}
	m.wasTried()
}

// lost notes that a receiver cannot be asked.
func (i *installation) lost(m *member, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if m.client != nil {
		m.client.CloseIdleConnections()
		i.pages.say(i.pages.env.Err, "%s: %v: trying again\n", m.receiver, err)
	}
	m.client, m.problem = nil, err.Error()
	m.wasTried()
}

func (m *member) wasTried() {
	select {
	case <-m.tried:
	default:
		close(m.tried)
	}
}

// receivers returns the receivers of the moment, for the page.
func (i *installation) receivers() []overview.Receiver {
	i.mu.Lock()
	defer i.mu.Unlock()
	list := make([]overview.Receiver, 0, len(i.members))
	for name, m := range i.members {
		list = append(list, overview.Receiver{Name: name, Buffer: m.buffer, Client: m.client, Problem: m.problem})
	}
	slices.SortFunc(list, func(a, b overview.Receiver) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// names returns the names of the receivers.
func (i *installation) names() string {
	var names []string
	for _, receiver := range i.receivers() {
		names = append(names, receiver.Name)
	}
	return strings.Join(names, ", ")
}
