package receiver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// slowBodies are the ways to send a body slowly: with a length or in chunks, stopping or trickling.
var slowBodies = []struct{ request, trickle string }{
	{forgedHead + "Content-Length: 52428800\r\n\r\n", ""},
	{forgedHead + "Content-Length: 52428800\r\n\r\nmandrill_events=", "x"},
	{forgedHead + "Transfer-Encoding: chunked\r\n\r\n10\r\nmandrill_events=\r\n", ""},
	{forgedHead + "Transfer-Encoding: chunked\r\n\r\n10\r\nmandrill_events=\r\n", "1\r\nx\r\n"},
	{forgedHead + "Transfer-Encoding: chunked\r\n\r\n3200000\r\n", "x"},
}

// A client that stops, or sends byte by byte, holds the first buffer and no more, is cut off at the read deadline, and keeps nobody
// from being served.
func TestSlowBodiesAreCutOffAtTheReadDeadline(t *testing.T) { // not parallel: it measures memory
	synctest.Test(t, func(t *testing.T) {
		const senders = 500
		clients := newSlowClients(t, 2*(senders+1)*receiver.FirstBuffer)
		var before, during runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range senders {
			clients.running.Go(func() {
				sender := slowBodies[i%len(slowBodies)]
				status, took := clients.sendSlowly(sender.request, sender.trickle)
				if status != http.StatusBadRequest || took < receiver.ReadTimeout || took > receiver.ReadTimeout+time.Second {
					t.Errorf("slow body %d: status %d, closed after %s", i%len(slowBodies), status, took)
				}
			})
		}
		for range 11 {
			time.Sleep(10 * time.Second)
			if response, took := clients.postGood(100, 0); response.StatusCode != http.StatusOK || took > 0 {
				t.Errorf("a good batch got %d after %s meanwhile", response.StatusCode, took)
			}
		}
		if inflight := clients.handler.InflightBytes(); inflight != senders*receiver.FirstBuffer {
			t.Errorf("slow clients hold %d bytes, want %d", inflight, senders*receiver.FirstBuffer)
		}
		runtime.GC()
		runtime.ReadMemStats(&during)
		if grown := int64(during.HeapAlloc) - int64(before.HeapAlloc); grown > senders*(receiver.FirstBuffer+64<<10) { // client and server, connections included
			t.Errorf("the heap grew by %d KiB for each client", grown/senders>>10)
		}
		clients.running.Wait()
		if inflight := clients.handler.InflightBytes(); inflight != 0 {
			t.Errorf("%d bytes are still held afterwards", inflight)
		}
		if diff := cmp.Diff(map[string]float64{"accepted": 11, "aborted": senders}, clients.outcomes()); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	})
}

// Slow clients that would fill the memory, and come again as soon as they are cut off, hold half of it for long. Good batches use
// the other half, at the latest when slow ones there are cut off.
func TestSlowBodiesGetHalfOfTheMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const bodyBytes, bodies, senders = 64 << 10, 64, 200
		clients := newSlowClients(t, bodies*bodyBytes)
		var stopped atomic.Bool
		for range senders {
			clients.running.Go(func() {
				for !stopped.Load() {
					clients.sendSlowly(quarterOfBody(bodyBytes), "")
				}
			})
		}
		for range 110 {
			time.Sleep(time.Second)
			if response, took := clients.postGood(100, 0); response.StatusCode != http.StatusOK || took > 5*time.Second {
				t.Errorf("a good batch got %d after %s meanwhile", response.StatusCode, took)
			}
		}
		stopped.Store(true)
		time.Sleep(30 * time.Second)
		if inflight := clients.handler.InflightBytes(); inflight > bodies*bodyBytes/2 {
			t.Errorf("slow clients still hold %d of %d bytes", inflight, bodies*bodyBytes)
		}
		clients.running.Wait()
		if response, took := clients.postGood(100, 0); response.StatusCode != http.StatusOK || took > 0 {
			t.Errorf("afterwards a good batch got %d after %s", response.StatusCode, took)
		}
	})
}

// A body must arrive at a minimal rate while memory is scarce. Otherwise only the read deadline counts.
func TestSlowBodiesAreCutOffWhileMemoryIsScarce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		scarce bool
		text   string // ";" is three bytes in a form
		rate   int
		status int
	}{
		"scarce, fast":                {true, strings.Repeat("x", 2<<20), receiver.ScarceRate * 5 / 4, http.StatusOK},
		"scarce, fast, escapes":       {true, strings.Repeat(";", 7<<19), receiver.ScarceRate * 5 / 4, http.StatusOK},
		"scarce, fast, escapes later": {true, strings.Repeat("x", 1<<20) + strings.Repeat(";", 11<<18), receiver.ScarceRate * 5 / 4, http.StatusOK},
		"scarce, slow":                {true, strings.Repeat("x", 2<<20), receiver.ScarceRate / 4, http.StatusBadRequest},
		"scarce, slow and small":      {true, strings.Repeat("x", 20<<10), 8 << 10, http.StatusOK},
		"scarce, too slow":            {true, strings.Repeat("x", 20<<10), 2 << 10, http.StatusBadRequest},
		"plenty, slow":                {false, strings.Repeat("x", 2<<20), receiver.ScarceRate / 40, http.StatusOK},
		"plenty, too slow":            {false, strings.Repeat("x", 2<<20), receiver.ScarceRate / 80, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const bodyBytes, bodies = 64 << 10, 256
				clients := newSlowClients(t, bodies*bodyBytes)
				holders := bodies / 2
				if !test.scarce {
					holders /= 2
				}
				for range holders {
					clients.running.Go(func() { clients.sendSlowly(quarterOfBody(bodyBytes), "") })
					synctest.Wait() // while a buffer grows both copies count, which would make memory scarce for the next
				}
				if inflight := clients.handler.InflightBytes(); inflight != int64(holders*bodyBytes) {
					t.Fatalf("%d bytes are held, want %d", inflight, holders*bodyBytes)
				}
				response, took := clients.postText(signingKey, test.text, test.rate)
				if response.StatusCode != test.status {
					t.Errorf("got %d after %s, want %d", response.StatusCode, took, test.status)
				}
				clients.running.Wait()
			})
		})
	}
}

// newScarceMemory returns clients of a receiver with 16 MiB for bodies, of which slow ones have half.
func newScarceMemory(t *testing.T) *slowClients {
	t.Helper()
	const bodyBytes, bodies = 64 << 10, 256
	clients := newSlowClients(t, bodies*bodyBytes)
	for range bodies / 2 {
		clients.running.Go(func() { clients.sendSlowly(quarterOfBody(bodyBytes), "") })
		synctest.Wait() // while a buffer grows both copies count
	}
	return clients
}

// While a body waits for its turn to be decoded, its sender's time does not run.
func TestBodyDeadlineIsSuspendedWhileWaitingForATurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clients := newScarceMemory(t)
		clients.running.Go(func() {
			time.Sleep(time.Second) // the buffer has its size
			release := clients.handler.AcquireParsing()
			time.Sleep(2 * receiver.ScarceGrace)
			release()
		})
		if response, took := clients.postGood(2<<20, receiver.ScarceRate*5/4); response.StatusCode != http.StatusOK || took < 2*receiver.ScarceGrace {
			t.Errorf("got %d after %s", response.StatusCode, took)
		}
		clients.running.Wait()
	})
}

// The time for a body ends with the body: the sink may take longer, and the connection can be used again.
func TestBodyDeadlineEndsWithTheBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clients := newScarceMemory(t)
		clients.answer = func(string, string) error { time.Sleep(2 * receiver.ScarceGrace); return nil }
		dials := 0
		transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			dials++
			return clients.listener.dial(ctx, network, address)
		}}
		defer transport.CloseIdleConnections()
		for i := range 2 {
			request, err := mandrilltest.NewRequest(t.Context(), plainURL, plainURL, signingKey, fmt.Appendf(nil, `[{"event":"open","_id":"%d"}]`, i))
			if err != nil {
				t.Fatal(err)
			}
			request.URL.Scheme = "http"
			response, err := transport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Errorf("request %d got %d", i, response.StatusCode)
			}
		}
		if dials != 1 {
			t.Errorf("%d connections", dials)
		}
		clients.running.Wait()
	})
}

// What follows an invalid escape is read as fast as the sender sends it, so that the sender gets its answer.
func TestUnreadableBodyIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clients := newScarceMemory(t)
		body := "mandrill_events=%zz" + strings.Repeat("x", 8<<20)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, plainURL, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", formType)
		request.Header.Set(mandrill.SignatureHeader, "forged")
		if response, took := clients.send(request, receiver.ScarceRate*5/4); response.StatusCode != http.StatusBadRequest || clients.outcomes()["unreadable"] != 1 {
			t.Errorf("got %d after %s, outcomes %v", response.StatusCode, took, clients.outcomes())
		}
		clients.running.Wait()
	})
}

// When memory is full of bodies that arrive fast enough, others get 503 with Retry-After, and memory is free when these end.
func TestFullMemoryIsAnsweredWithRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const bodyBytes, bodies = 4 << 20, 4
		clients := newSlowClients(t, (bodies+1)*bodyBytes-bodyBytes/2) // with memory for one body to grow
		for range bodies {
			clients.running.Go(func() { clients.post("forged", bodyBytes-4096, receiver.ScarceRate*11/20) })
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		response, took := clients.postGood(bodyBytes/2, 0)
		if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" || took != 5*time.Second {
			t.Errorf("got %d after %s, Retry-After %q", response.StatusCode, took, response.Header.Get("Retry-After"))
		}
		clients.running.Wait()
		if response, took := clients.postGood(bodyBytes/2, 0); response.StatusCode != http.StatusOK || took > 0 {
			t.Errorf("afterwards got %d after %s", response.StatusCode, took)
		}
		if diff := cmp.Diff(map[string]float64{"accepted": 1, "busy": 1, "signature": bodies}, clients.outcomes()); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	})
}

// Small bodies are served before those that wait for much memory. Of these one is served when another gives up.
func TestSmallBodiesAreServedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clients := newSlowClients(t, 1<<20)
		begin := func(announced, sent, status int) {
			clients.running.Go(func() {
				request := fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", forgedHead, announced, "="+strings.Repeat("x", sent))
				if got, took := clients.sendSlowly(request, ""); got != status {
					t.Errorf("%d of %d bytes sent: got %d after %s, want %d", sent, announced, got, took, status)
				}
			})
			synctest.Wait()
		}
		begin(512<<10, 128<<10, http.StatusBadRequest)         // has 512 KiB
		begin(600<<10, 256<<10, http.StatusServiceUnavailable) // has 256, and waits for 600
		time.Sleep(time.Second)
		begin(380<<10, 128<<10, http.StatusBadRequest) // has 128, and waits for 380
		if response, took := clients.postGood(100, 0); response.StatusCode != http.StatusOK || took > 0 {
			t.Errorf("a small batch got %d after %s", response.StatusCode, took)
		}
		clients.running.Wait()
	})
}

// A refused request is answered, and its connection closed, without waiting for the body.
func TestRefusedBodiesAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	unsigned := strings.Replace(forgedHead, "X-Mandrill-Signature: forged\r\n", "", 1)
	for name, test := range map[string]struct {
		request string
		status  int
		within  time.Duration
	}{
		"unsigned, large":         {unsigned + "Content-Length: 52428800\r\n\r\n", http.StatusForbidden, time.Second},
		"unsigned, small":         {unsigned + "Content-Length: 1000\r\n\r\n", http.StatusForbidden, 5 * time.Second},
		"unsigned, chunked":       {unsigned + "Transfer-Encoding: chunked\r\n\r\n", http.StatusForbidden, 5 * time.Second},
		"no route":                {strings.Replace(forgedHead, "shop", "none", 1) + "Content-Length: 1000\r\n\r\n", http.StatusNotFound, 5 * time.Second},
		"another method":          {strings.Replace(forgedHead, "POST", "PUT", 1) + "Content-Length: 1000\r\n\r\n", http.StatusMethodNotAllowed, 5 * time.Second},
		"too large":               {forgedHead + "Content-Length: 1000000000\r\n\r\n", http.StatusRequestEntityTooLarge, time.Second},
		"with a content encoding": {forgedHead + "Content-Encoding: gzip\r\nContent-Length: 1000\r\n\r\n", http.StatusBadRequest, 5 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			clients := newSlowClients(t, 1<<20)
			if status, took := clients.sendSlowly(test.request, "x"); status != test.status || took > test.within {
				t.Errorf("%s: got %d after %s, want %d within %s", name, status, took, test.status, test.within)
			}
		})
	}
}

// endlessBody never ends.
type endlessBody struct{}

func (endlessBody) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '='
	}
	return len(p), nil
}

// countingConn counts the bytes sent over a connection.
type countingConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// http2Poster returns a function that posts a forged body over one HTTP/2 connection, and the count of bytes sent over it.
func (c *slowClients) http2Poster() (post func(io.Reader) int, sent *atomic.Int64) {
	sent = &atomic.Int64{}
	transport := &http.Transport{Protocols: new(http.Protocols), DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		connection, err := c.listener.dial(ctx, network, address)
		return countingConn{connection, sent}, err
	}}
	transport.Protocols.SetUnencryptedHTTP2(true)
	c.t.Cleanup(transport.CloseIdleConnections)
	return func(body io.Reader) int {
		request, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, "http://h/mandrill/shop", body)
		if err != nil {
			c.t.Error(err)
			return 0
		}
		request.Header.Set("Content-Type", formType)
		request.Header.Set(mandrill.SignatureHeader, "forged")
		response, err := transport.RoundTrip(request)
		if err != nil {
			c.t.Error(err)
			return 0
		}
		_ = response.Body.Close()
		return response.StatusCode
	}, sent
}

// Over HTTP/2 many bodies share a connection. What they send before memory is free is bounded, and slow bodies are cut off as well.
func TestSlowBodiesOverHTTP2AreBoundedAndCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clients := newSlowClients(t, receiver.FirstBuffer)
		post, sent := clients.http2Poster()
		begin := time.Now()
		clients.running.Go(func() { // takes all memory
			reader, writer := io.Pipe()
			defer writer.Close()
			if status := post(reader); status != http.StatusBadRequest || time.Since(begin) > receiver.ScarceGrace+time.Second {
				t.Errorf("a body that stops got %d after %s", status, time.Since(begin))
			}
		})
		synctest.Wait()
		for range 20 {
			clients.running.Go(func() {
				if status := post(endlessBody{}); status != http.StatusServiceUnavailable {
					t.Errorf("an endless body got %d", status)
				}
			})
		}
		synctest.Wait()
		if got, limit := sent.Load(), int64(receiver.HTTP2Buffer+64<<10); got > limit { // including the headers
			t.Errorf("%d unread bytes were sent, want %d at most", got, limit)
		}
		clients.running.Wait()
	})
}

// A body's deadline must not run while the receiver does not read it for lack of memory. Over HTTP/2 the deadline would run.
func TestBodyDeadlineIsSuspendedWhileWaitingForMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clients := newSlowClients(t, 3*receiver.FirstBuffer)
		post, _ := clients.http2Poster()
		begin := func() *io.PipeWriter {
			reader, writer := io.Pipe()
			clients.running.Go(func() {
				if status := post(reader); status != http.StatusForbidden {
					t.Errorf("got %d, want 403", status)
				}
			})
			synctest.Wait()
			return writer
		}
		holder, waiter := begin(), begin() // memory is scarce for the second
		time.Sleep(receiver.ScarceGrace - time.Second)
		if _, err := waiter.Write(bytes.Repeat([]byte("="), receiver.FirstBuffer)); err != nil { // there is no memory for more
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		_ = holder.Close()
		time.Sleep(time.Second)
		_ = waiter.Close()
		clients.running.Wait()
	})
}

// The bubbles above use pipes: real connections, with and without TLS, must be cut off too.
func TestSlowBodiesOverTCPAreCutOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	certificate, key := keyPair(t, 1)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]*tls.Config{"plain": nil, "TLS": {Certificates: []tls.Certificate{pair}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler := receiver.NewHandler(receiver.Options{ // one body is more than half of the memory, which is scarce then
				Routes: f.routes, Sender: sink.NewSender(sink.Options{}), Metrics: f.metrics, Logger: f.routes.Logger, MaxInflightBytes: receiver.FirstBuffer,
			})
			address := serve(t, &receiver.Server{Handler: handler, Logger: slog.New(slog.DiscardHandler), TLS: config})
			connection, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close()
			if config != nil {
				connection = tls.Client(connection, &tls.Config{InsecureSkipVerify: true})
			}
			_ = connection.SetDeadline(time.Now().Add(time.Minute)) // half of the read deadline when memory is plenty
			if _, err := io.WriteString(connection, forgedHead+"Content-Length: 1000000\r\n\r\nmandrill_events="); err != nil {
				t.Fatal(err)
			}
			if answer, err := io.ReadAll(connection); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) {
				t.Errorf("the connection ended with %q, %v", answer, err)
			}
		})
	}
}
