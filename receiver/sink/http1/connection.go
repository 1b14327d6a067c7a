package http1

import (
	"bufio"
	"errors"
	"net"
	"strconv"
	"syscall"
	"time"
)

const (
	// maxHeader bounds the header of an answer, with those of interim answers before it.
	maxHeader = MaxAnswerHeader
	// largeBody is the size from which a body is sent while the answer is awaited: the server may answer before it has read the body, and
	// may then not read the rest.
	largeBody = 64 << 10
	// unsentGrace is how long a body may still be sent after its answer has arrived.
	unsentGrace = 50 * time.Millisecond
	readBuffer  = 4 << 10
	maxBuffer   = 8 << 10 // larger write buffers are not kept
)

// MaxAnswerHeader bounds the header of an answer.
const MaxAnswerHeader = 256 << 10

var errHeaderTooLarge = errors.New("the header of the answer is too large")

// connection is a connection to a server. One request at a time uses it.
type connection struct {
	conn      net.Conn
	in        *bufio.Reader // of source
	source    *headerLimit
	out       []byte
	idleSince time.Time
}

func newConnection(conn net.Conn) *connection {
	source := &headerLimit{conn: conn}
	return &connection{conn: conn, source: source, in: bufio.NewReaderSize(source, readBuffer)}
}

// headerLimit reads from a connection, and counts.
type headerLimit struct {
	conn net.Conn
	read int // since the request was sent
	most int // 0: no limit
}

func (l *headerLimit) Read(p []byte) (int, error) {
	if l.most > 0 && l.read > l.most {
		return 0, errHeaderTooLarge
	}
	n, err := l.conn.Read(p)
	l.read += n
	return n, err
}

// answered reports whether a byte of an answer to the last request arrived.
func (c *connection) answered() bool { return c.source.read > 0 }

// alive reports whether the server has neither closed an idle connection nor sent something that nobody asked for.
func (c *connection) alive(deadline time.Time) bool {
	raw, ok := c.conn.(syscall.Conn)
	if !ok {
		return true
	}
	_ = c.conn.SetDeadline(deadline) // a deadline that has passed would prevent the check
	control, err := raw.SyscallConn()
	if err != nil {
		return false
	}
	alive := false
	err = control.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		alive = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && alive
}

// exchange sends a request and reads the answer. It reports whether the connection can be used again.
func (c *connection) exchange(request Request) (answer Answer, reusable bool, err error) {
	c.source.read = 0
	c.out = append(append(append(c.out[:0], request.Head...), request.Fields...), "Content-Length: "...)
	c.out = append(strconv.AppendInt(c.out, int64(len(request.Body)), 10), "\r\n\r\n"...)
	if len(request.Body) > largeBody {
		answer, reusable, err = c.exchangeLarge(request.Body)
	} else {
		c.out = append(c.out, request.Body...)
		answer, reusable, err = c.exchangeSmall()
	}
	if cap(c.out) > maxBuffer {
		c.out = nil
	}
	return answer, reusable && c.in.Buffered() == 0, err
}

// exchangeSmall sends all in one piece. When that fails, the server may have said why before it closed the connection.
func (c *connection) exchangeSmall() (answer Answer, reusable bool, err error) {
	_, unsent := c.conn.Write(c.out)
	answer, reusable, err = c.readAnswer()
	if unsent != nil && err != nil {
		return answer, false, unsent
	}
	return answer, reusable && unsent == nil, err
}

// exchangeLarge sends the body while it awaits the answer.
func (c *connection) exchangeLarge(body []byte) (answer Answer, reusable bool, err error) {
	sent := make(chan error, 1)
	go func() {
		parts := net.Buffers{c.out, body}
		_, err := parts.WriteTo(c.conn)
		sent <- err
	}()
	answer, reusable, err = c.readAnswer()
	if err != nil {
		_ = c.conn.Close() // ends the write
		if unsent := <-sent; unsent != nil && !errors.Is(unsent, net.ErrClosed) {
			err = unsent
		}
		return answer, false, err
	}
	select {
	case unsent := <-sent:
		return answer, reusable && unsent == nil, nil
	case <-time.After(unsentGrace):
	}
	_ = c.conn.Close() // ends the write
	<-sent             //nolint:errcheck // it failed because the connection was closed
	return answer, false, nil
}
