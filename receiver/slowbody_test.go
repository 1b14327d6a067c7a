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
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// slowBodies are ways to be slow: the length is announced, or the body comes in chunks, and it stops or trickles.
var slowBodies = []struct{ request, trickle string }{
	{forgedHead + "Content-Length: 52428800\r\n\r\n", ""},
	{forgedHead + "Content-Length: 52428800\r\n\r\nmandrill_events=", "x"},
	{forgedHead + "Transfer-Encoding: chunked\r\n\r\n10\r\nmandrill_events=\r\n", ""},
	{forgedHead + "Transfer-Encoding: chunked\r\n\r\n10\r\nmandrill_events=\r\n", "1\r\nx\r\n"},
	{forgedHead + "Transfer-Encoding: chunked\r\n\r\n3200000\r\n", "x"},
}

// Who sends a body by the byte, or stops, holds what a body is given to begin with and no more, is cut off at the read
// deadline, and keeps nobody from being served.
func TestSlowBodiesAreCutOffAtTheReadDeadline(t *testing.T) { // not parallel: it measures memory
	synctest.Test(t, func(t *testing.T) {
		const senders = 500
		b := newSlowClients(t, 2*(senders+1)*receiver.FirstBuffer)
		var before, during runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range senders {
			b.running.Go(func() {
				way := slowBodies[i%len(slowBodies)]
				status, took := b.sendSlowly(way.request, way.trickle)
				if status != http.StatusBadRequest || took < receiver.ReadTimeout || took > receiver.ReadTimeout+time.Second {
					t.Errorf("way %d: answered with %d, and the connection was closed after %s", i%len(slowBodies), status, took)
				}
			})
		}
		for range 11 {
			time.Sleep(10 * time.Second)
			if response, took := b.postGood(100, 0); response.StatusCode != http.StatusOK || took > 0 {
				t.Errorf("a good batch is answered with %d after %s meanwhile", response.StatusCode, took)
			}
		}
		if held := b.handler.InflightBytes(); held != senders*receiver.FirstBuffer {
			t.Errorf("they hold %d bytes, want %d", held, senders*receiver.FirstBuffer)
		}
		runtime.GC()
		runtime.ReadMemStats(&during)
		if grown := int64(during.HeapAlloc) - int64(before.HeapAlloc); grown > senders*(receiver.FirstBuffer+64<<10) { // of both sides, connections included
			t.Errorf("the heap grew by %d KiB for each of them", grown/senders>>10)
		}
		b.running.Wait()
		if held := b.handler.InflightBytes(); held != 0 {
			t.Errorf("afterwards %d bytes are held", held)
		}
		if diff := cmp.Diff(map[string]float64{"accepted": 11, "aborted": senders}, b.outcomes()); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	})
}

// Slow senders that would take all memory, and come again as soon as they are cut off, get half of it for long. Good
// batches find room in the other half, at worst when the slow ones there are cut off.
func TestSlowBodiesGetHalfOfTheMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const each, units, senders = 64 << 10, 64, 200
		b := newSlowClients(t, units*each)
		var stopped atomic.Bool
		for range senders {
			b.running.Go(func() {
				for !stopped.Load() {
					b.sendSlowly(quarterOfBody(each), "")
				}
			})
		}
		for range 110 {
			time.Sleep(time.Second)
			if response, took := b.postGood(100, 0); response.StatusCode != http.StatusOK || took > 5*time.Second {
				t.Errorf("a good batch is answered with %d after %s meanwhile", response.StatusCode, took)
			}
		}
		stopped.Store(true)
		time.Sleep(30 * time.Second)
		if held := b.handler.InflightBytes(); held > units*each/2 {
			t.Errorf("%d of %d bytes are still held by slow senders", held, units*each)
		}
		b.running.Wait()
		if response, took := b.postGood(100, 0); response.StatusCode != http.StatusOK || took > 0 {
			t.Errorf("afterwards a good batch is answered with %d after %s", response.StatusCode, took)
		}
	})
}

// While memory is scarce a body has to come at a pace, which is no matter otherwise.
func TestSlowBodiesAreCutOffWhileMemoryIsScarce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		scarce     bool
		size, rate int
		status     int
	}{
		"scarce, fast":           {true, 2 << 20, receiver.ScarceRate * 5 / 4, http.StatusOK},
		"scarce, slow":           {true, 2 << 20, receiver.ScarceRate / 4, http.StatusBadRequest},
		"scarce, slow and small": {true, 20 << 10, 8 << 10, http.StatusOK},
		"scarce, too slow":       {true, 20 << 10, 2 << 10, http.StatusBadRequest},
		"plenty, slow":           {false, 2 << 20, receiver.ScarceRate / 40, http.StatusOK},
		"plenty, too slow":       {false, 2 << 20, receiver.ScarceRate / 80, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const each, units = 64 << 10, 256
				b := newSlowClients(t, units*each)
				holders := units / 2
				if !test.scarce {
					holders /= 2
				}
				for range holders {
					b.running.Go(func() { b.sendSlowly(quarterOfBody(each), "") })
					synctest.Wait() // while it grows it has more, for which another would be hurried
				}
				if held := b.handler.InflightBytes(); held != int64(holders*each) {
					t.Fatalf("%d bytes are held, want %d", held, holders*each)
				}
				response, took := b.postGood(test.size, test.rate)
				if response.StatusCode != test.status {
					t.Errorf("answered with %d after %s, want %d", response.StatusCode, took, test.status)
				}
				b.running.Wait()
			})
		})
	}
}

// Memory that is full of bodies that keep the pace is no slow sender's doing: others are told when to come again, and
// find room when these are done.
func TestFullMemoryIsAnsweredWithRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const each, units = 4 << 20, 4
		b := newSlowClients(t, (units+1)*each-each/2) // with room for one to grow
		for range units {
			b.running.Go(func() { b.post("forged", each-4096, receiver.ScarceRate*11/20) })
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		response, took := b.postGood(each/2, 0)
		if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" || took != 5*time.Second {
			t.Errorf("answered with %d after %s, Retry-After %q", response.StatusCode, took, response.Header.Get("Retry-After"))
		}
		b.running.Wait()
		if response, took := b.postGood(each/2, 0); response.StatusCode != http.StatusOK || took > 0 {
			t.Errorf("afterwards answered with %d after %s", response.StatusCode, took)
		}
		if diff := cmp.Diff(map[string]float64{"accepted": 1, "busy": 1, "signature": units}, b.outcomes()); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	})
}

// Who wants little is served before those who wait for much, and of these one is served when another gives up.
func TestSmallBodiesAreServedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSlowClients(t, 1<<20)
		begin := func(announced, sent, status int) {
			b.running.Go(func() {
				request := fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", forgedHead, announced-1, strings.Repeat("x", sent))
				if got, took := b.sendSlowly(request, ""); got != status {
					t.Errorf("of %d bytes %d were sent: answered with %d after %s, want %d", announced, sent, got, took, status)
				}
			})
			synctest.Wait()
		}
		begin(512<<10, 128<<10, http.StatusBadRequest)         // has 512 KiB
		begin(600<<10, 256<<10, http.StatusServiceUnavailable) // has 256, and waits for 600
		time.Sleep(time.Second)
		begin(380<<10, 128<<10, http.StatusBadRequest) // has 128, and waits for 380
		if response, took := b.postGood(100, 0); response.StatusCode != http.StatusOK || took > 0 {
			t.Errorf("a small batch is answered with %d after %s", response.StatusCode, took)
		}
		b.running.Wait()
	})
}

// What is refused is not waited for: neither its answer nor its connection.
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
			b := newSlowClients(t, 1<<20)
			if status, took := b.sendSlowly(test.request, "x"); status != test.status || took > test.within {
				t.Errorf("%s: answered with %d after %s, want %d within %s", name, status, took, test.status, test.within)
			}
		})
	}
}

// endless is a body without end.
type endlessBody struct{}

func (endlessBody) Read(p []byte) (int, error) { return len(p), nil }

// counted counts what is sent over a connection.
type countingConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// http2 returns what posts a forged body over one connection and returns the status, and what counts the bytes that are
// sent over it.
func (b *slowClients) http2Poster() (post func(io.Reader) int, sent *atomic.Int64) {
	sent = &atomic.Int64{}
	transport := &http.Transport{Protocols: new(http.Protocols), DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		connection, err := b.listener.dial(ctx, network, address)
		return countingConn{connection, sent}, err
	}}
	transport.Protocols.SetUnencryptedHTTP2(true)
	b.t.Cleanup(transport.CloseIdleConnections)
	return func(body io.Reader) int {
		request, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, "http://h/mandrill/shop", body)
		if err != nil {
			b.t.Error(err)
			return 0
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set(mandrill.SignatureHeader, "forged")
		response, err := transport.RoundTrip(request)
		if err != nil {
			b.t.Error(err)
			return 0
		}
		_ = response.Body.Close()
		return response.StatusCode
	}, sent
}

// Over HTTP/2 many bodies share a connection. What they send before there is room for it is bounded, and who is slow is
// cut off as well.
func TestSlowBodiesOverHTTP2AreBoundedAndCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSlowClients(t, receiver.FirstBuffer)
		post, sent := b.http2Poster()
		begin := time.Now()
		b.running.Go(func() { // takes all memory there is
			reader, writer := io.Pipe()
			defer writer.Close()
			if status := post(reader); status != http.StatusBadRequest || time.Since(begin) > receiver.ScarceGrace+time.Second {
				t.Errorf("a body that stops is answered with %d after %s", status, time.Since(begin))
			}
		})
		synctest.Wait()
		for range 20 {
			b.running.Go(func() {
				if status := post(endlessBody{}); status != http.StatusServiceUnavailable {
					t.Errorf("a body without end is answered with %d", status)
				}
			})
		}
		synctest.Wait()
		if got, most := sent.Load(), int64(receiver.HTTP2Buffer+64<<10); got > most { // with the heads
			t.Errorf("%d bytes were sent that nobody read, want %d at most", got, most)
		}
		b.running.Wait()
	})
}

// While a body waits for memory itself, its time does not run. Over HTTP/2 it would, though nobody reads.
func TestBodyDeadlineIsSuspendedWhileWaitingForMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSlowClients(t, 3*receiver.FirstBuffer)
		post, _ := b.http2Poster()
		begin := func() *io.PipeWriter {
			reader, writer := io.Pipe()
			b.running.Go(func() {
				if status := post(reader); status != http.StatusForbidden {
					t.Errorf("answered with %d, want 403", status)
				}
			})
			synctest.Wait()
			return writer
		}
		holder, waiter := begin(), begin() // the second is hurried
		time.Sleep(receiver.ScarceGrace - time.Second)
		if _, err := waiter.Write(make([]byte, receiver.FirstBuffer)); err != nil { // there is no room for more
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		_ = holder.Close()
		time.Sleep(time.Second)
		_ = waiter.Close()
		b.running.Wait()
	})
}

// A real connection is cut off too, with and without TLS.
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
			handler := receiver.NewHandler(receiver.Options{ // one body is more than half of the memory
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
			_ = connection.SetDeadline(time.Now().Add(time.Minute)) // half of what it has otherwise
			if _, err := io.WriteString(connection, forgedHead+"Content-Length: 1000000\r\n\r\nmandrill_events="); err != nil {
				t.Fatal(err)
			}
			if answer, err := io.ReadAll(connection); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) {
				t.Errorf("the connection ended with %q, %v", answer, err)
			}
		})
	}
}
