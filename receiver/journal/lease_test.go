package journal_test

import (
	"context"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/lease"
)

// proxy is a connection to a server that can be cut.
type proxy struct {
	t      *testing.T
	target string
	listen net.Listener
	mu     sync.Mutex
	cut    bool
	conns  []net.Conn
	open   chan struct{} // closed while data passes
}

func newProxy(t *testing.T, port int) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, target: "127.0.0.1:" + strconv.Itoa(port), listen: listener, open: make(chan struct{})}
	close(p.open)
	go p.accept()
	t.Cleanup(func() { _ = listener.Close(); p.set(true) })
	return p
}

func (p *proxy) url() string { return "nats://" + p.listen.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		cut := p.cut
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		if cut {
			_, _ = client.Close(), server.Close()
			continue
		}
		go func() { _, _ = io.Copy(server, p.through(client)); _ = server.Close() }()
		go func() { _, _ = io.Copy(client, p.through(server)); _ = client.Close() }()
	}
}

// through reads from a connection while data passes.
func (p *proxy) through(conn net.Conn) io.Reader {
	return reader(func(data []byte) (int, error) {
		n, err := conn.Read(data)
		p.mu.Lock()
		open := p.open
		p.mu.Unlock()
		<-open
		return n, err
	})
}

type reader func([]byte) (int, error)

func (r reader) Read(data []byte) (int, error) { return r(data) }

// stall holds back what both sides send, and closes nothing, until end is called.
func (p *proxy) stall() (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = make(chan struct{})
	return sync.OnceFunc(func() { close(p.open) })
}

// set cuts all connections, or allows new ones.
func (p *proxy) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	if cut {
		for _, conn := range p.conns {
			_ = conn.Close()
		}
		p.conns = nil
	}
}

// behindProxy runs a journal that never loses its lease, whatever becomes of its connection.
func behindProxy(t *testing.T) (*opened, *proxy) {
	t.Helper()
	way := newProxy(t, newExternal(t).options.Port)
	options, _ := shared(t, way.url())
	options.LeaseTime = time.Hour
	return run(t, journal.New(options)), way
}

// A leader that ends releases the lease, and another takes over at once.
func TestLeaseIsHandedOver(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options, logged := shared(t, e.url())
	l := newLedger(t)
	names := []string{"a", "b"}
	running := map[string]*opened{}
	stops := map[string]func(){}
	begin := func(name string) {
		running[name] = run(t, journal.New(options))
		stops[name] = l.deliver(name, running[name].Journal)
	}
	begin(names[0])
	until(t, "delivery", func() bool { return l.begun() == 1 })
	begin(names[1])
	w := load(t, running["a"].Journal, running["b"].Journal)
	w.progress(20)
	for i := range 3 {
		begun := time.Now()
		stops[names[0]]()
		until(t, "another begins", func() bool { return l.begun() == i+2 })
		if took := time.Since(begun); took > options.LeaseTime/2 || l.who() != names[1] {
			t.Errorf("%s has taken over after %s", l.who(), took)
		}
		stops[names[0]] = l.deliver(names[0], running[names[0]].Journal)
		names[0], names[1] = names[1], names[0]
	}
	w.progress(20)
	l.expect(w.stop())
	if l.begun() != 4 {
		t.Errorf("delivery was begun %d times, want 4:\n%s", l.begun(), logged.String())
	}
}

// A leader that cannot renew its lease stops before another begins, whether it notices at once or waits for answers.
func TestLeaderWithoutConnectionStopsFirst(t *testing.T) {
	t.Parallel()
	t.Run("disconnected", func(t *testing.T) {
		t.Parallel()
		loseLease(t, func(way *proxy) (end func()) { way.set(true); return func() { way.set(false) } })
	})
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		loseLease(t, (*proxy).stall)
	})
}

func loseLease(t *testing.T, lose func(*proxy) (end func())) {
	t.Helper()
	e := newExternal(t)
	way := newProxy(t, e.options.Port)
	cutOff, _ := shared(t, way.url())
	options, _ := shared(t, e.url())
	cutOff.LeaseTime, options.LeaseTime = lease.DefaultTime, lease.DefaultTime
	l := newLedger(t)
	a, b := run(t, journal.New(cutOff)), run(t, journal.New(options))
	l.deliver("a", a.Journal)
	until(t, "delivery", func() bool { return l.begun() == 1 })
	l.deliver("b", b.Journal)
	w := load(t, a.Journal, b.Journal)
	w.progress(20)
	begun := time.Now()
	end := lose(way)
	t.Cleanup(end)
	until(t, "the other begins", func() bool { return l.who() == "b" })
	if took := time.Since(begun); took < options.LeaseTime/2 || took > 3*options.LeaseTime {
		t.Errorf("it has begun after %s", took)
	}
	w.progress(5)
	end()
	waiting, done := context.WithTimeout(t.Context(), patience)
	defer done()
	if err := a.WaitAvailable(waiting); err != nil {
		t.Fatal(err)
	}
	until(t, "appending works again", func() bool { return a.Available(t.Context()) })
	if l.who() != "b" || l.begun() != 2 {
		t.Errorf("%s delivers, begun %d times", l.who(), l.begun())
	}
	b.stop()
	until(t, "the first begins again", func() bool { return l.who() == "a" })
	l.expect(w.stop())
}

// A leader that was disconnected for a moment has its lease again at once.
func TestLeaseIsTakenAgain(t *testing.T) {
	t.Parallel()
	a, way := behindProxy(t)
	l := newLedger(t)
	l.deliver("a", a.Journal)
	w := load(t, a.Journal)
	for range 3 {
		w.progress(10)
		way.set(true)
		until(t, "a refusal", func() bool { return w.refusals() > 0 })
		way.set(false)
	}
	w.progress(10)
	l.expect(w.stop())
}
