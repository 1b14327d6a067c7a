package sink_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// protocolSender is a way to reach a sink without TLS.
type protocolSender struct {
	newClient func() *sink.Client
	http2     bool
}

func (p protocolSender) target(uri string) sink.Target {
	to := target(uri)
	to.HTTP2 = p.http2
	return to
}

// protocolSenders are those of clients, and HTTP/2.
func protocolSenders() map[string]protocolSender {
	senders := map[string]protocolSender{"HTTP/2": {func() *sink.Client { return &sink.Client{Proxy: noProxy} }, true}}
	for which, newClient := range clients() {
		senders[which] = protocolSender{newClient, false}
	}
	return senders
}

// protocolSink is a server that speaks both protocols without TLS.
type protocolSink struct {
	*httptest.Server
	connections atomic.Int32
	protocol    atomic.Int32 // of the last request
}

func serveProtocols(t *testing.T, handler http.HandlerFunc) *protocolSink {
	t.Helper()
	s := &protocolSink{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.protocol.Store(int32(r.ProtoMajor))
		handler(w, r)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// answers returns a handler that reads the request and answers with a status, some fields and a body.
func answers(status int, body string, fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for i := 0; i < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// inPieces writes a chunk at a time, and trailers.
func inPieces(status int, pieces ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Checksum")
		w.WriteHeader(status)
		for _, piece := range pieces {
			_, _ = io.WriteString(w, piece)
			_ = http.NewResponseController(w).Flush()
			<-time.After(20 * time.Millisecond)
		}
		w.Header().Set("X-Checksum", "1")
	}
}

// What a sink answers means the same by HTTP/1.1, by either sender, and by HTTP/2.
func TestAnswersMeanTheSameInEveryProtocol(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("x", 1<<20)
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		body   int // bytes, if not a few
		want   string
	}{
		"a body":                 {answers(202, "fine"), 0, "accepted"},
		"no body":                {answers(204, ""), 0, "accepted"},
		"chunked":                {inPieces(200, "fi", "ne"), 0, "accepted"},
		"chunked, an error":      {inPieces(500, "oo", "ps"), 0, "500 temporary=true oops"},
		"a redirect":             {answers(307, "", "Location", "/elsewhere"), 0, "307 temporary=false"},
		"Retry-After":            {answers(429, "no", "Retry-After", "7"), 0, "429 temporary=true no 7s"},
		"a refusal":              {answers(400, "no such order"), 0, "400 temporary=false no such order"},
		"a large body":           {answers(202, huge), 0, "accepted"},
		"a large error":          {answers(500, huge), 0, "500 temporary=true " + huge[:sink.MaxAnswer]},
		"a large field":          {answers(202, "", "X-A", huge), 0, "no usable answer temporary=true NoAnswer"},
		"a large request":        {answers(202, "fine"), 600 << 10, "accepted"},
		"a very large request":   {answers(202, "fine"), 20 << 20, "accepted"},
		"cut after the status":   {cutAfter(202, "fi"), 0, "accepted"},
		"an error, cut":          {cutAfter(503, "down"), 0, "503 temporary=true down"},
		"early hints":            {earlyHints, 0, "accepted"},
		"no answer":              {waits, 0, "timeout temporary=true Timeout"},
		"an answer without end":  {doesNotEnd, 0, "accepted"},
		"refused before the end": {answersUnread(413, "large"), 8 << 20, "413 temporary=false large"},
		"neither read nor ended": {neitherReadsNorEnds, 8 << 20, "accepted"},
	} {
		for which, sender := range protocolSenders() {
			t.Run(name+", "+which, func(t *testing.T) {
				t.Parallel()
				server, event := serveProtocols(t, test.answer), newEvent()
				if test.body > 0 {
					event.Data = []byte(strings.Repeat("1", test.body))
				}
				to := sender.target(server.URL)
				if name == "no answer" || name == "an answer without end" || name == "neither read nor ended" {
					to.Timeout = 2 * time.Second // in which the request or the status must come
				}
				if got := outcome(sender.newClient().Send(t.Context(), to, event)); got != test.want {
					t.Errorf("got %.200q, want %.200q", got, test.want)
				}
				if got := server.protocol.Load(); (got == 2) != sender.http2 {
					t.Errorf("the request came by HTTP/%d", got)
				}
			})
		}
	}
}

func cutAfter(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "40")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		_ = http.NewResponseController(w).Flush()
		<-time.After(20 * time.Millisecond) // the client may forget what it has not read when the stream is reset
		panic(http.ErrAbortHandler)
	}
}

func earlyHints(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Link", "</a>")
	w.WriteHeader(http.StatusEarlyHints)
	w.WriteHeader(http.StatusProcessing)
	w.WriteHeader(http.StatusAccepted)
}

// waits reads the request: only then a server of HTTP/1.1 notices that its client is gone.
func waits(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func doesNotEnd(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, "fine")
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// neitherReadsNorEnds leaves a client of HTTP/2 that has got the status waiting for the window of the request. A server of HTTP/1.1 must
// read the request to notice that its client is gone.
func neitherReadsNorEnds(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	w.WriteHeader(http.StatusAccepted)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func answersUnread(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Header().Set("Connection", "close")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// A server announces the end of a connection, by Connection: close or GOAWAY, or just closes it. No event is lost by that.
func TestConnectionsAreReplacedInEveryProtocol(t *testing.T) {
	t.Parallel()
	const requests = 4
	for name, test := range map[string]struct {
		answer      http.HandlerFunc
		connections int32
	}{
		"kept":      {answers(202, "fine"), 1},
		"announced": {answers(202, "fine", "Connection", "close"), requests},
	} {
		for which, sender := range protocolSenders() {
			t.Run(name+", "+which, func(t *testing.T) {
				t.Parallel()
				server := serveProtocols(t, test.answer)
				client := sender.newClient()
				for range requests {
					if got := outcome(client.Send(t.Context(), sender.target(server.URL), newEvent())); got != "accepted" {
						t.Error(got)
					}
				}
				if got := server.connections.Load(); got != test.connections {
					t.Errorf("%d connections, want %d", got, test.connections)
				}
				server.CloseClientConnections()
				got := outcome(client.Send(t.Context(), sender.target(server.URL), newEvent()))
				if which != "lean" && got != "accepted" { // net/http does not repeat all requests on a connection that was closed at that moment
					got = outcome(client.Send(t.Context(), sender.target(server.URL), newEvent()))
				}
				if got != "accepted" {
					t.Error("after the server closed all connections:", got)
				}
			})
		}
	}
}

// Requests to a sink that speaks HTTP/2 share a connection.
func TestRequestsByHTTP2ShareAConnection(t *testing.T) {
	t.Parallel()
	const requests = 16
	var begun atomic.Bool
	var arrived sync.WaitGroup
	arrived.Add(requests)
	server := serveProtocols(t, func(w http.ResponseWriter, _ *http.Request) {
		if begun.Load() {
			arrived.Done()
			arrived.Wait() // all are under way at once
		}
		w.WriteHeader(http.StatusAccepted)
	})
	sender := protocolSenders()["HTTP/2"]
	client := sender.newClient()
	if got := outcome(client.Send(t.Context(), sender.target(server.URL), newEvent())); got != "accepted" {
		t.Fatal(got)
	}
	begun.Store(true) // before, each request would dial
	var group sync.WaitGroup
	for range requests {
		group.Go(func() {
			if got := outcome(client.Send(t.Context(), sender.target(server.URL), newEvent())); got != "accepted" {
				t.Error(got)
			}
		})
	}
	group.Wait()
	if got := server.connections.Load(); got != 1 {
		t.Errorf("%d connections", got)
	}
}

// A sink that speaks only HTTP/1.1 is not one for HTTP/2, and the other way round.
func TestTheOtherProtocolIsAFault(t *testing.T) {
	t.Parallel()
	senders := protocolSenders()
	for which, http2 := range map[string]bool{"HTTP/2": false, "lean": true, "net/http": true} {
		server := httptest.NewUnstartedServer(answers(202, "fine"))
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetHTTP1(!http2)
		server.Config.Protocols.SetUnencryptedHTTP2(http2)
		server.Start()
		to := senders[which].target(server.URL)
		err := senders[which].newClient().Send(t.Context(), to, newEvent())
		if failure := new(sink.Error); !errors.As(err, &failure) || !strings.HasPrefix(failure.Error(), "4") && sink.ReasonOf(err) != "NoAnswer" {
			t.Errorf("%s: %v", which, err)
		}
		server.Close()
	}
}

// A proxy for plain HTTP expects HTTP/1.1.
func TestHTTP2IsNotSpokenToProxies(t *testing.T) {
	t.Parallel()
	proxy := newLocalSink(t)
	client := &sink.Client{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(proxy.at("127.0.0.1").URI) }}
	to := target("http://sink.example/events")
	to.HTTP2 = true
	if got := outcome(client.Send(t.Context(), to, newEvent())); got != "accepted" {
		t.Error(got)
	}
}

func TestContextsEndRequestsInEveryProtocol(t *testing.T) {
	t.Parallel()
	for which, sender := range protocolSenders() {
		asked := make(chan struct{})
		server := serveProtocols(t, func(w http.ResponseWriter, r *http.Request) { close(asked); waits(w, r) })
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-asked; cancel() }()
		if err := sender.newClient().Send(ctx, sender.target(server.URL), newEvent()); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", which, err)
		}
	}
}

func TestHTTP2ChecksAddresses(t *testing.T) {
	t.Parallel()
	server, client := newLocalSink(t), &sink.Client{Proxy: noProxy, Refuse: onLoopback}
	to := server.at("localhost")
	to.HTTP2 = true
	assertRefused(t, "HTTP/2", client.Send(t.Context(), to, newEvent()))
	if n := server.connections.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

// A payload is a buffer that the next request uses. A server may answer before it has read a request, and net/http then still reads the
// body: no byte of what comes into the buffer later may go to that server.
func TestAPayloadIsNotReadAfterTheAnswer(t *testing.T) {
	t.Parallel()
	for which, sender := range protocolSenders() {
		t.Run(which, func(t *testing.T) {
			t.Parallel()
			answered, overwritten, foreign := make(chan struct{}), make(chan struct{}), make(chan bool, 1)
			server := serveProtocols(t, func(w http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(w).EnableFullDuplex()
				w.Header().Set("Content-Length", "0")
				w.WriteHeader(http.StatusAccepted)
				_ = http.NewResponseController(w).Flush()
				close(answered)
				<-overwritten
				rest, _ := io.ReadAll(r.Body)
				foreign <- strings.Contains(string(rest), "2")
			})
			ctx, cancel := context.WithCancel(t.Context())
			go func() { // by HTTP/2 the answer does not end
				<-answered
				time.AfterFunc(100*time.Millisecond, cancel)
			}()
			body, next := bytes.Repeat([]byte("1"), 16<<20), bytes.Repeat([]byte("2"), 16<<20)
			_, _ = sender.newClient().Post(ctx, sender.target(server.URL), sink.Payload{Fields: []byte("Content-Type: text/plain\r\n"), Body: body, Reused: true})
			copy(body, next) // a race, if something reads it
			close(overwritten)
			if <-foreign {
				t.Error("the server got bytes of the next request")
			}
		})
	}
}
