package receiver_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// pipeListener is a listener for connections in memory, which synctest bubbles need.
type pipeListener struct {
	dialed chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case connection := <-l.dialed:
		return connection, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (l *pipeListener) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.dialed <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// slowClients is a receiver behind its real server, and the clients that are slow to send.
type slowClients struct {
	*directFixture
	handler  *receiver.Handler
	listener *pipeListener
	running  sync.WaitGroup
	posted   atomic.Int64
}

func newSlowClients(t *testing.T, inflight int64) *slowClients {
	t.Helper()
	c := &slowClients{directFixture: newDirectFixture(t, routes.Delivery{}), listener: &pipeListener{dialed: make(chan net.Conn), closed: make(chan struct{})}}
	c.routes.Complete()
	c.handler = receiver.NewHandler(receiver.Options{
		Routes: c.routes, Sender: sink.NewSender(sink.Options{Poster: c.fakeSinks, Metrics: nil}), Metrics: c.metrics,
		Logger: slog.New(slog.NewJSONHandler(c.log, nil)), MaxInflightBytes: inflight,
	})
	server := &receiver.Server{Listener: c.listener, Handler: c.handler, Logger: slog.New(slog.DiscardHandler)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

// postGood posts a signed batch of one event, at a rate if it is not zero. It returns the response and how long it took.
func (c *slowClients) postGood(size, rate int) (*http.Response, time.Duration) {
	c.t.Helper()
	return c.post(signingKey, size, rate)
}

func (c *slowClients) post(key string, size, rate int) (*http.Response, time.Duration) {
	c.t.Helper()
	return c.postText(key, strings.Repeat("x", size), rate)
}

// postText posts a batch of one event with a text.
func (c *slowClients) postText(key, text string, rate int) (*http.Response, time.Duration) {
	c.t.Helper()
	batch := fmt.Appendf(nil, `[{"event":"open","_id":"%d","x":%q}]`, c.posted.Add(1), text)
	request, err := mandrilltest.NewRequest(c.t.Context(), plainURL, plainURL, key, batch)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.send(request, rate)
}

// send sends a request at a rate, if it is not zero.
func (c *slowClients) send(request *http.Request, rate int) (*http.Response, time.Duration) {
	c.t.Helper()
	request.URL.Scheme = "http"
	request.Body = io.NopCloser(&throttledReader{request.Body, c.t.Context(), rate})
	transport := &http.Transport{DialContext: c.listener.dial}
	defer transport.CloseIdleConnections()
	begin := time.Now()
	response, err := transport.RoundTrip(request)
	if err != nil {
		c.t.Error(err)
		return &http.Response{}, 0
	}
	_ = response.Body.Close()
	return response, time.Since(begin)
}

// throttledReader reads at a rate until the test ends.
type throttledReader struct {
	io.Reader
	ctx            context.Context
	bytesPerSecond int
}

func (s *throttledReader) Read(p []byte) (int, error) {
	if s.bytesPerSecond == 0 {
		return s.Reader.Read(p)
	}
	p = p[:min(len(p), 1+s.bytesPerSecond/20)]
	select {
	case <-time.After(time.Duration(len(p)) * time.Second / time.Duration(s.bytesPerSecond)):
		return s.Reader.Read(p)
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
}

const forgedHead = "POST /mandrill/shop HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nX-Mandrill-Signature: forged\r\n"

// sendSlowly sends the beginning of a request, and then one trickle a second. It returns the status, and after how long the
// connection was closed.
func (c *slowClients) sendSlowly(request, trickle string) (status int, took time.Duration) {
	connection, err := c.listener.dial(c.t.Context(), "", "")
	if err != nil {
		return 0, 0
	}
	begin, ended := time.Now(), make(chan struct{})
	var writing sync.WaitGroup
	defer writing.Wait()
	defer connection.Close()
	defer close(ended)
	writing.Go(func() {
		_, err := io.WriteString(connection, request)
		for err == nil && trickle != "" {
			select {
			case <-time.After(time.Second):
				_, err = io.WriteString(connection, trickle)
			case <-ended:
				return
			}
		}
	})
	reader := bufio.NewReader(connection)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return 0, time.Since(begin)
	}
	if rest, err := io.ReadAll(reader); err != nil || !bytes.HasSuffix(rest, []byte("\n")) {
		c.t.Errorf("the connection ended with %q, %v", rest, err)
	}
	return response.StatusCode, time.Since(begin)
}

func (c *slowClients) outcomes() map[string]float64 {
	c.t.Helper()
	return counterByLabel(c.t, c.registry, "mandrill_receiver_requests_total", "outcome")
}

// quarterOfBody returns a request with a quarter of its body: enough for the receiver to reserve memory for all of it.
func quarterOfBody(size int) string {
	return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", forgedHead, size, "="+strings.Repeat("x", size/4)) // a value without a name
}
