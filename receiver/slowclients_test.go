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

// pipes is a listener whose connections are in memory, so that time passes at once in a bubble.
type pipeListener struct {
	dialed chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipeListener) Accept() (net.Conn, error) {
	select {
	case connection := <-p.dialed:
		return connection, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipeListener) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipeListener) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.dialed <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// besieged is a receiver, behind a server with its deadlines, to which many are slow.
type slowClients struct {
	*directFixture
	handler *receiver.Handler
	listener   *pipeListener
	running sync.WaitGroup
	posted atomic.Int64
}

func newSlowClients(t *testing.T, inflight int64) *slowClients {
	t.Helper()
	b := &slowClients{directFixture: newDirectFixture(t, routes.Delivery{}), listener: &pipeListener{dialed: make(chan net.Conn), closed: make(chan struct{})}}
	b.routes.Complete()
	b.handler = receiver.NewHandler(receiver.Options{
		Routes: b.routes, Sender: sink.NewSender(sink.Options{Poster: b.fakeSinks, Metrics: nil}), Metrics: b.metrics,
		Logger: slog.New(slog.NewJSONHandler(b.log, nil)), MaxInflightBytes: inflight,
	})
	server := &receiver.Server{Listener: b.listener, Handler: b.handler, Logger: slog.New(slog.DiscardHandler)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return b
}

// good posts a signed batch of one event of a size, at a rate if it is not zero, and returns the answer and how long it
// took.
func (b *slowClients) postGood(size, rate int) (*http.Response, time.Duration) {
	b.t.Helper()
	return b.post(signingKey, size, rate)
}

func (b *slowClients) post(key string, size, rate int) (*http.Response, time.Duration) {
	b.t.Helper()
	batch := fmt.Appendf(nil, `[{"event":"open","_id":"%d","x":%q}]`, b.posted.Add(1), strings.Repeat("x", size))
	request, err := mandrilltest.NewRequest(b.t.Context(), plainURL, plainURL, key, batch)
	if err != nil {
		b.t.Fatal(err)
	}
	request.URL.Scheme = "http"
	request.Body = io.NopCloser(&throttledReader{request.Body, b.t.Context(), rate})
	transport := &http.Transport{DialContext: b.listener.dial}
	defer transport.CloseIdleConnections()
	begin := time.Now()
	response, err := transport.RoundTrip(request)
	if err != nil {
		b.t.Error(err)
		return &http.Response{}, 0
	}
	_ = response.Body.Close()
	return response, time.Since(begin)
}

// steady reads so many bytes a second, until the test ends.
type throttledReader struct {
	io.Reader
	ctx  context.Context
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

// slow sends the beginning of a request, and then next to nothing. It returns the status and after how long the
// connection was closed.
func (b *slowClients) sendSlowly(request, trickle string) (status int, took time.Duration) {
	connection, err := b.listener.dial(b.t.Context(), "", "")
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
		b.t.Errorf("the connection ended with %q, %v", rest, err)
	}
	return response.StatusCode, time.Since(begin)
}

func (b *slowClients) outcomes() map[string]float64 {
	b.t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		if family.GetName() == "mandrill_receiver_requests_total" {
			for _, metric := range family.GetMetric() {
				got[metric.GetLabel()[0].GetValue()] = metric.GetCounter().GetValue()
			}
		}
	}
	return got
}

// quarter is a request, and as much of its body as makes the receiver give it the room for all.
func quarterOfBody(size int) string {
	return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", forgedHead, size-1, strings.Repeat("x", size/4))
}
