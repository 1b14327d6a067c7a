package chaos_test

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// wire leads from one member of a cluster to another. It can be cut as networks are: nothing arrives any more, and nobody
// says so.
type wire struct {
	address string
	to      string
	cut     atomic.Bool
	mu      sync.Mutex
	conns   map[net.Conn]bool
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{address: listener.Addr().String(), to: to, conns: map[net.Conn]bool{}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go w.join(conn)
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		for conn := range w.conns {
			_ = conn.Close()
		}
	})
	return w
}

func (w *wire) join(near net.Conn) {
	defer w.forget(near)
	w.know(near)
	far, err := net.DialTimeout("tcp", w.to, time.Second)
	if err != nil {
		return
	}
	defer w.forget(far)
	w.know(far)
	done := make(chan struct{}, 2)
	for _, ends := range [][2]net.Conn{{near, far}, {far, near}} {
		go func() { w.carry(ends[0], ends[1]); done <- struct{}{} }()
	}
	<-done
}

// carry takes bytes from one end to the other. What is sent while the wire is cut never arrives, so nothing after it may.
func (w *wire) carry(from, to net.Conn) {
	buffer := make([]byte, 64<<10)
	for lost := false; ; {
		n, err := from.Read(buffer)
		lost = lost || w.cut.Load()
		if err != nil {
			return
		}
		if lost {
			if !w.cut.Load() {
				return // it is noticed now
			}
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (w *wire) know(conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[conn] = true
}

func (w *wire) forget(conn io.Closer) {
	_ = conn.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, conn.(net.Conn))
}
