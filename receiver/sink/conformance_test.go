package sink_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// clients are a client that sends without net/http where it can, and one that always uses it. A sink must not see which one is at work, nor
// a reader of logs, metrics and dead letters.
func clients() map[string]func() *sink.Client {
	return map[string]func() *sink.Client{
		"lean":     func() *sink.Client { return &sink.Client{Proxy: noProxy} },
		"net/http": func() *sink.Client { return (&sink.Client{Proxy: noProxy}).Standard() },
	}
}

// scriptedSink answers requests by writing bytes. The script gets the number of the request on all connections, beginning with 1, and
// reports whether the connection stays open.
type scriptedSink struct {
	url                   string
	requests, connections atomic.Int32
}

type script func(conn net.Conn, request int) (stay bool)

func serveScript(t *testing.T, answer script) *scriptedSink {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scriptedSink{url: "http://" + listener.Addr().String() + "/events"}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.connections.Add(1)
			go s.serve(conn, answer)
		}
	}()
	return s
}

func (s *scriptedSink) serve(conn net.Conn, answer script) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		request, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if request.ContentLength < 1<<20 { // of a larger one only the header is read
			if _, err := io.Copy(io.Discard, request.Body); err != nil {
				return
			}
		}
		if !answer(conn, int(s.requests.Add(1))) {
			return
		}
	}
}

// writes returns a script that writes the same for each request.
func writes(stay bool, parts ...string) script {
	return func(conn net.Conn, _ int) bool {
		for i, part := range parts {
			if i > 0 {
				<-time.After(20 * time.Millisecond) // so that parts arrive one by one
			}
			if _, err := io.WriteString(conn, part); err != nil {
				return false
			}
		}
		return stay
	}
}

// outcome describes the result of a request: the status, or the class of the error, what a dead letter says, and when to try again.
func outcome(err error) string {
	failure := new(sink.Error)
	switch {
	case err == nil:
		return "accepted"
	case !errors.As(err, &failure):
		return "another error: " + err.Error()
	case failure.Status != 0:
		return strings.TrimSpace(fmt.Sprintf("%d temporary=%t %s %s", failure.Status, failure.Temporary(), failure.Answer, strings.Replace(failure.After.String(), "0s", "", 1)))
	}
	return fmt.Sprintf("%s temporary=%t %s", failure.Err, failure.Temporary(), sink.ReasonOf(err))
}

const accepted = "HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nfine"

func TestSendersReadTheSameAnswers(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("x", 1<<20)
	reset := func(conn net.Conn, _ int) bool {
		_ = conn.(*net.TCPConn).SetLinger(0)
		return false
	}
	for name, test := range map[string]struct {
		answer script
		body   int // bytes, if not a few
		want   string
	}{
		"a body":                     {writes(true, accepted), 0, "accepted"},
		"no body":                    {writes(true, "HTTP/1.1 204 No Content\r\n\r\n"), 0, "accepted"},
		"no reason":                  {writes(true, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), 0, "accepted"},
		"in pieces":                  {writes(true, "HTTP/1.1 2", "02 Acc", "epted\r\nContent-Le", "ngth: 4\r\n\r", "\nfi", "ne"), 0, "accepted"},
		"line feeds alone":           {writes(true, "HTTP/1.1 202 Accepted\nContent-Length: 4\n\nfine"), 0, "accepted"},
		"a folded field":             {writes(true, "HTTP/1.1 202 Accepted\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n"), 0, "accepted"},
		"chunked":                    {writes(true, "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfi", "ne\r\n0\r\n\r\n"), 0, "accepted"},
		"chunked with trailers":      {writes(true, "HTTP/1.1 500 Oh\r\nTrailer: X-A\r\nTransfer-Encoding: chunked\r\n\r\n4\r\noops\r\n0\r\nX-A: b\r\n\r\n"), 0, "500 temporary=true oops"},
		"until the end":              {writes(false, "HTTP/1.1 400 No\r\n\r\n", "no such ", "order"), 0, "400 temporary=false no such order"},
		"HTTP/1.0":                   {writes(false, "HTTP/1.0 200 OK\r\n\r\nfine"), 0, "accepted"},
		"continue":                   {writes(true, "HTTP/1.1 100 Continue\r\n\r\n", accepted), 0, "accepted"},
		"early hints":                {writes(true, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n", accepted), 0, "accepted"},
		"switching protocols":        {writes(true, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"), 0, "101 temporary=false"},
		"a redirect":                 {writes(true, "HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"), 0, "307 temporary=false"},
		"Retry-After":                {writes(true, "HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno"), 0, "429 temporary=true no 7s"},
		"a short body":               {writes(false, "HTTP/1.1 202 Accepted\r\nContent-Length: 40\r\n\r\nfine"), 0, "accepted"},
		"a short body of an error":   {writes(false, "HTTP/1.1 503 Down\r\nContent-Length: 40\r\n\r\ndown"), 0, "503 temporary=true down"},
		"a body that does not end":   {writes(true, "HTTP/1.1 202 Accepted\r\nContent-Length: 40\r\n\r\nfine"), 0, "accepted"},
		"a large body":               {writes(true, "HTTP/1.1 202 Accepted\r\nContent-Length: 1048576\r\n\r\n"+huge), 0, "accepted"},
		"a large body of an error":   {writes(true, "HTTP/1.1 500 Oh\r\nContent-Length: 1048576\r\n\r\n"+huge), 0, "500 temporary=true " + huge[:sink.MaxAnswer]},
		"a large field":              {writes(true, "HTTP/1.1 202 Accepted\r\nX-A: "+huge+"\r\nContent-Length: 0\r\n\r\n"), 0, "no usable answer temporary=true NoAnswer"},
		"no answer":                  {func(net.Conn, int) bool { return true }, 0, "timeout temporary=true Timeout"},
		"a part of a header":         {writes(false, "HTTP/1.1 202 Acc"), 0, "connection closed temporary=true NoAnswer"},
		"closed":                     {writes(false), 0, "connection closed temporary=true NoAnswer"},
		"reset":                      {reset, 0, "connection reset temporary=true NoAnswer"},
		"not HTTP":                   {writes(false, "220 mail.example ESMTP\r\n"), 0, "no usable answer temporary=true NoAnswer"},
		"two lengths":                {writes(true, "HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfine"), 0, "no usable answer temporary=true NoAnswer"},
		"a length that is no number": {writes(true, "HTTP/1.1 202 Accepted\r\nContent-Length: +4\r\n\r\nfine"), 0, "no usable answer temporary=true NoAnswer"},
		"a large request":            {writes(true, accepted), 600 << 10, "accepted"},
		"before the request was read": {func(conn net.Conn, _ int) bool {
			writes(true, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 5\r\n\r\nlarge")(conn, 1)
			<-time.After(300 * time.Millisecond)
			return false
		}, 8 << 20, "413 temporary=false large"},
	} {
		for which, newClient := range clients() {
			t.Run(name+", "+which, func(t *testing.T) {
				t.Parallel()
				server, event := serveScript(t, test.answer), newEvent()
				if test.body > 0 {
					event.Data = []byte(strings.Repeat("1", test.body))
				}
				to := sink.Target{URI: server.url, Timeout: 10 * time.Second}
				switch {
				case strings.Contains(name, "no answer"):
					to.Timeout = 200 * time.Millisecond
				case strings.Contains(name, "does not end"): // the status must come in time
					to.Timeout = 2 * time.Second
				}
				if got := outcome(newClient().Send(t.Context(), to, event)); got != test.want {
					t.Errorf("got %.200q, want %.200q", got, test.want)
				}
			})
		}
	}
}

// A server may close an idle connection at any moment. The next event goes out on another one, and no attempt is lost.
func TestClosedConnectionsAreReplaced(t *testing.T) {
	t.Parallel()
	const foreign = "HTTP/1.1 500 Foreign\r\nContent-Length: 0\r\n\r\n"
	for name, test := range map[string]struct {
		answer      script
		pause       time.Duration // between requests
		connections int32
	}{
		"open":                    {writes(true, accepted), 0, 1},
		"open for long":           {writes(true, accepted), 200 * time.Millisecond, 1},
		"announced":               {writes(false, "HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), 0, 3},
		"closed after an answer":  {writes(false, accepted), 0, 3},
		"closed while idle":       {writes(false, accepted), 200 * time.Millisecond, 3},
		"more than was asked for": {writes(true, accepted+foreign), 0, 3},
		"more, later":             {writes(true, accepted, foreign), 200 * time.Millisecond, 3},
		"closed instead of an answer": {func(conn net.Conn, request int) bool {
			return request != 2 && writes(true, accepted)(conn, request)
		}, 0, 2},
	} {
		for which, newClient := range clients() {
			if name == "more than was asked for" && which == "net/http" {
				continue // it takes that for the answer to the next request, unless it has noticed it before
			}
			t.Run(name+", "+which, func(t *testing.T) {
				t.Parallel()
				answered := make(chan struct{}, 3)
				server, client := serveScript(t, func(conn net.Conn, request int) bool {
					defer func() { answered <- struct{}{} }()
					return test.answer(conn, request)
				}), newClient()
				for range 3 {
					if got := outcome(client.Send(t.Context(), target(server.url), newEvent())); got != "accepted" {
						t.Error(got)
					}
					select {
					case <-answered:
					case <-time.After(time.Minute):
						t.Fatal("no request came")
					}
					<-time.After(test.pause)
				}
				if got := server.connections.Load(); got != test.connections && which == "lean" {
					t.Errorf("%d connections, want %d", got, test.connections)
				}
			})
		}
	}
}

// On a new connection a request is not repeated: that the server was there shows that it did not want it.
func TestRequestsAreNotRepeatedOnNewConnections(t *testing.T) {
	t.Parallel()
	for which, newClient := range clients() {
		server := serveScript(t, writes(false))
		got := outcome(newClient().Send(t.Context(), target(server.url), newEvent()))
		if requests := server.requests.Load(); got != "connection closed temporary=true NoAnswer" || requests != 1 {
			t.Errorf("%s: %s after %d requests", which, got, requests)
		}
	}
}

// The end of a batch ends its requests, and is no fault of the sink.
func TestContextsEndRequests(t *testing.T) {
	t.Parallel()
	for which, newClient := range clients() {
		for name, body := range map[string]int{"small": 10, "large": 32 << 20} {
			t.Run(name+", "+which, func(t *testing.T) {
				t.Parallel()
				asked := make(chan struct{})
				server := serveScript(t, func(net.Conn, int) bool { close(asked); <-t.Context().Done(); return false })
				ctx, cancel := context.WithCancel(t.Context())
				go func() { <-asked; cancel() }()
				event := newEvent()
				event.Data = make([]byte, body)
				begin := time.Now()
				err := newClient().Send(ctx, target(server.url), event)
				if !errors.Is(err, context.Canceled) || time.Since(begin) > 5*time.Second {
					t.Errorf("got %v after %s", err, time.Since(begin))
				}
			})
		}
	}
	for which, newClient := range clients() {
		server := serveScript(t, func(net.Conn, int) bool { return true })
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		got := outcome(newClient().Send(ctx, target(server.url), newEvent()))
		cancel()
		if got != "timeout temporary=true Timeout" {
			t.Errorf("%s: %s after the context's deadline", which, got)
		}
	}
}

// Sinks get the same header, credentials of the URL included.
func TestSendersSendTheSameHeader(t *testing.T) {
	t.Parallel()
	got := map[string]http.Header{}
	for which, newClient := range clients() {
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			r.Header.Set("Request", r.Method+" "+r.RequestURI+" "+r.Proto+" "+r.Host[:strings.LastIndexByte(r.Host, ':')])
			r.Header.Del("Accept-Encoding") // net/http decompresses
			got[which] = r.Header
		}))
		event := newEvent()
		event.Subject, event.Time = "é \"%", time.Unix(1, 5e8)
		event.Set("tracestate", "a=b")
		event.Set("traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
		if err := newClient().Send(t.Context(), target(strings.Replace(server.URL, "//", "//robot:p%40ss@", 1)+"/a%2Fb/é?k=v#f"), event); err != nil {
			t.Error(which, err)
		}
		server.Close()
	}
	if diff := cmp.Diff(got["net/http"], got["lean"]); diff != "" || got["lean"].Get("Authorization") == "" {
		t.Errorf("header (-net/http +lean):\n%s", diff)
	}
}

func TestSendersCheckAddresses(t *testing.T) {
	t.Parallel()
	for which, newClient := range clients() {
		server, client := newLocalSink(t), newClient()
		client.Refuse = onLoopback
		assertRefused(t, which, client.Send(t.Context(), server.at("localhost"), newEvent()))
		if n := server.connections.Load(); n != 0 {
			t.Errorf("%s: %d connections were made", which, n)
		}
	}
}

// An event whose attributes are hostile arrives as one request.
func TestAttributesCannotEndTheHeader(t *testing.T) {
	t.Parallel()
	for which, newClient := range clients() {
		server := serveScript(t, writes(true, accepted))
		event := newEvent()
		event.ID, event.Subject = "1\r\n\r\nPOST / HTTP/1.1\r\n\r\n", "\x00\r\nInjected: x"
		event.Extensions = []cloudevent.Attribute{{Name: "tag", Value: "a\nb: c"}, {Name: "tracestate", Value: "a\r\nb: c"}}
		event.Set("traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
		if got := outcome(newClient().Send(t.Context(), target(server.url), event)); got != "accepted" || server.requests.Load() != 1 {
			t.Errorf("%s: %s after %d requests", which, got, server.requests.Load())
		}
	}
}
