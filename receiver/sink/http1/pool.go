// Package http1 posts requests by HTTP/1.1 without TLS on connections that are used again. It does the work of net/http's transport in the
// calling goroutine, for the one kind of request that nearly all events take: a POST of known length, to one host, whose answer is short.
// A small request needs no goroutine, and hardly any memory. Answers are parsed by [net/http.ReadResponse], except the
// plainest ones. ADR 13 says why it is not a library.
package http1

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// MaxIdle is how many idle connections a pool keeps. It is above the requests in flight to one sink.
	MaxIdle = 128
	// IdleTimeout is below the idle timeouts of common servers and proxies, which close at 60 s and above.
	IdleTimeout = 50 * time.Second
	// checkAfter is how long a connection must have been idle to be asked whether the server has closed it.
	checkAfter = 100 * time.Millisecond
)

// Request is a request to a host.
type Request struct {
	Head   []byte // the request line and fields that all requests to a sink have
	Fields []byte // lines of further fields, without Content-Length
	Body   []byte
}

// Pool posts requests to one host. Its fields must not be changed after the first request. It is safe for concurrent use.
type Pool struct {
	Dial func(ctx context.Context) (net.Conn, error)

	mu    sync.Mutex // guards what follows
	idle  []*connection
	sweep *time.Timer // runs while connections are idle
}

// Post makes a request. It returns the answer, or the error of the network: [context.Canceled] and [context.DeadlineExceeded] if ctx
// ended, and a timeout after the deadline.
//
// A server may close an idle connection at the moment at which a request is sent on it. Without a byte of an answer the request is
// therefore repeated, once, on a new connection: the sink may get an event twice, as after any failure, and knows it by its id.
func (p *Pool) Post(ctx context.Context, deadline time.Time, request Request) (Answer, error) {
	if err := ctx.Err(); err != nil {
		return Answer{}, err
	}
	if c := p.take(deadline); c != nil {
		answer, err := p.exchange(ctx, c, deadline, request)
		if err == nil || c.answered() || !closed(err) {
			return answer, withContext(ctx, err)
		}
	}
	dialing, cancel := context.WithDeadline(ctx, deadline)
	conn, err := p.Dial(dialing)
	cancel()
	if err != nil {
		return Answer{}, withContext(ctx, err)
	}
	answer, err := p.exchange(ctx, newConnection(conn), deadline, request)
	return answer, withContext(ctx, err)
}

// withContext returns the error of a context that ended instead of one that is due to that.
func withContext(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// closed reports whether an error says that the server closed the connection.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// exchange makes a request on a connection, and keeps the connection if it can be used again.
func (p *Pool) exchange(ctx context.Context, c *connection, deadline time.Time, request Request) (Answer, error) {
	_ = c.conn.SetDeadline(deadline) // fails on a closed connection, as what follows does
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	}
	answer, reusable, err := c.exchange(request)
	if stopped := stop(); reusable && stopped && err == nil {
		p.put(c)
	} else {
		_ = c.conn.Close() // nobody waits for it
	}
	return answer, err
}

// take returns an idle connection, the one that was used last, or nil.
func (p *Pool) take(deadline time.Time) *connection {
	for {
		c := p.pop()
		if c == nil {
			return nil
		}
		idle := time.Since(c.idleSince)
		if idle < checkAfter || idle < IdleTimeout && c.alive(deadline) {
			return c
		}
		_ = c.conn.Close() // it is of no use
	}
}

func (p *Pool) pop() *connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	c := p.idle[last]
	p.idle[last] = nil
	p.idle = p.idle[:last]
	return c
}

func (p *Pool) put(c *connection) {
	c.idleSince = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) >= MaxIdle {
		_ = c.conn.Close() // it is of no use
		return
	}
	p.idle = append(p.idle, c)
	if p.sweep == nil {
		p.sweep = time.AfterFunc(IdleTimeout, p.closeExpired)
	}
}

// closeExpired closes the connections that were idle for long, and comes again while there are others.
func (p *Pool) closeExpired() {
	p.mu.Lock()
	defer p.mu.Unlock()
	expired := 0
	for expired < len(p.idle) && time.Since(p.idle[expired].idleSince) >= IdleTimeout {
		_ = p.idle[expired].conn.Close() // it is of no use
		expired++
	}
	p.idle = append(p.idle[:0:0], p.idle[expired:]...) // the first is the one that was idle longest
	p.sweep = nil
	if len(p.idle) > 0 {
		p.sweep = time.AfterFunc(IdleTimeout-time.Since(p.idle[0].idleSince), p.closeExpired)
	}
}

// CloseIdle closes the idle connections.
func (p *Pool) CloseIdle() {
	for c := p.pop(); c != nil; c = p.pop() {
		_ = c.conn.Close() // it is of no use
	}
}
