package receiver_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// sendRaw sends bytes over a new connection and returns the status of each response, until the server closes the connection
// or waits for more.
func sendRaw(t *testing.T, address, text string) []int {
	t.Helper()
	connection, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(connection, text); err != nil {
		t.Fatal(err)
	}
	var statuses []int
	for reader := bufio.NewReader(connection); ; {
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			return statuses
		}
		_, _ = io.Copy(io.Discard, response.Body)
		statuses = append(statuses, response.StatusCode)
	}
}

// signedBody returns the body of a batch of one event for the plain route, and its signature.
func signedBody(t *testing.T, f *fixture) (body, signature string) {
	t.Helper()
	request := f.request(t, `[{"event":"open"}]`)
	data, err := io.ReadAll(request.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data), request.Header.Get("X-Mandrill-Signature")
}

// Requests whose end a proxy and the receiver may see differently get one refusal, and the bytes after them are never taken for
// a request.
func TestRequestSmugglingIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	address := serve(t, &receiver.Server{Handler: f.Config.Handler, Logger: slog.New(slog.DiscardHandler)})
	body, signature := signedBody(t, f)
	smuggled := "GET /mandrill/shop HTTP/1.1\r\nHost: x\r\n\r\n" // would get 200
	head := "POST /mandrill/shop HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nX-Mandrill-Signature: " + signature + "\r\n"
	length := fmt.Sprintf("Content-Length: %d\r\n", len(body))
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	if got := sendRaw(t, address, head+length+"Connection: close\r\n\r\n"+body); len(got) != 1 || got[0] != http.StatusOK {
		t.Fatalf("a valid request got %v", got)
	}
	f.sink.takeEvents()
	var attempts sync.WaitGroup
	for name, text := range map[string]string{
		"two lengths":                  head + length + "Content-Length: 0\r\n\r\n" + body + smuggled,
		"two lengths in one":           head + fmt.Sprintf("Content-Length: %d, %d\r\n", len(body), 3) + "\r\n" + body + smuggled,
		"a negative length":            head + "Content-Length: -1\r\n\r\n" + body + smuggled,
		"a length with a sign":         head + "Content-Length: +5\r\n\r\n" + body + smuggled,
		"not a number":                 head + "Content-Length: 1e3\r\n\r\n" + body + smuggled,
		"an unknown transfer encoding": head + "Transfer-Encoding: gzip\r\n\r\n" + chunked + smuggled,
		"two transfer encodings":       head + "Transfer-Encoding: chunked, identity\r\n\r\n" + chunked + smuggled,
		"transfer encoding twice":      head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked + smuggled,
		"a space before the colon":     head + "Transfer-Encoding : chunked\r\n\r\n" + chunked + smuggled,
		"a bare line feed in a name":   head + "X: y\nContent-Length : 3\r\n\r\n" + body + smuggled,
		"no host":                      strings.Replace(head, "Host: x\r\n", "", 1) + length + "\r\n" + body + smuggled,
		"two hosts":                    head + "Host: y\r\n" + length + "\r\n" + body + smuggled,
		"a null in a value":            head + "X: a\x00b\r\n" + length + "\r\n" + body + smuggled,
		"a bad chunk":                  head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body + "\r\n0\r\n\r\n" + smuggled,
		"a chunk without end":          head + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s", len(body)+100, body) + smuggled,
		"a line folded":                head + "X: a\r\n b\r\n" + strings.Replace(length, ":", " :", 1) + "\r\n" + body + smuggled,
	} {
		attempts.Go(func() {
			statuses := sendRaw(t, address, text)
			if len(statuses) > 1 || len(statuses) == 1 && statuses[0] < 400 {
				t.Errorf("%s: got %v, want one refusal", name, statuses)
			}
		})
	}
	attempts.Wait()
	if events := f.sink.takeEvents(); len(events) > 0 {
		t.Errorf("%d events were delivered", len(events))
	}
	// With both a length and chunks the chunks count, and the connection is not used again.
	if got := sendRaw(t, address, head+"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"+chunked+smuggled); len(got) != 1 {
		t.Errorf("a length and chunks: got %v, want one response", got)
	}
}

// A route is its path byte for byte: no cleaning, no case folding, no unescaping.
func TestOnlyTheExactPathMatches(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	address := serve(t, &receiver.Server{Handler: f.Config.Handler, Logger: slog.New(slog.DiscardHandler)})
	for _, path := range []string{
		"//mandrill/shop", "/mandrill//shop", "/mandrill/shop/", "/mandrill/./shop", "/x/../mandrill/shop", "/mandrill/%73hop", "/mandrill%2fshop", "/%6dandrill/shop",
		"/Mandrill/shop", "/mandrill/SHOP", "/mandrill/shop%00", "/mandrill/shop;x", "/mandrill/shop%20", "/mandrill/shop%3fa", "/mandrill/shop/.", "*", "/",
	} {
		got := sendRaw(t, address, "HEAD "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if len(got) != 1 || got[0] != http.StatusNotFound && got[0] != http.StatusBadRequest {
			t.Errorf("%s: got %v, want 404", path, got)
		}
	}
	for _, target := range []string{"/mandrill/shop", "http://other.example/mandrill/shop", "/mandrill/shop?x=1"} {
		if got := sendRaw(t, address, "HEAD "+target+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); len(got) != 1 || got[0] != http.StatusOK {
			t.Errorf("%s: got %v, want 200", target, got)
		}
	}
}

func TestOversizedHeadersAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	address := serve(t, &receiver.Server{Handler: f.Config.Handler, Logger: slog.New(slog.DiscardHandler)})
	for name, head := range map[string]string{
		"one header":   "HEAD /mandrill/shop HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 100<<10) + "\r\n\r\n",
		"many headers": "HEAD /mandrill/shop HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: a\r\n", 20_000) + "\r\n",
		"the path":     "HEAD /mandrill/shop?" + strings.Repeat("a", 100<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		if got := sendRaw(t, address, head); len(got) != 1 || got[0] != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s: got %v, want 431", name, got)
		}
	}
}

// Clients that send a header byte by byte are cut off, and others are served meanwhile.
func TestSlowHeadersAreCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clients := newSlowClients(t, 1<<20)
		for range 50 {
			clients.running.Go(func() {
				connection, err := clients.listener.dial(t.Context(), "", "")
				if err != nil {
					t.Error(err)
					return
				}
				defer connection.Close()
				begin := time.Now()
				clients.running.Go(func() {
					for err := error(nil); err == nil; time.Sleep(time.Second) {
						_, err = io.WriteString(connection, "P")
					}
				})
				_, _ = io.Copy(io.Discard, connection) // until the server closes it
				if took := time.Since(begin); took > 45*time.Second {
					t.Errorf("the server put up with a slow header for %s", took)
				}
			})
		}
		synctest.Wait()
		if response, _ := clients.postGood(100, 0); response.StatusCode != http.StatusOK {
			t.Errorf("a good batch got %d meanwhile", response.StatusCode)
		}
		clients.running.Wait()
	})
}

// A thousand clients announce large bodies, half of them without a signature, half with a forged one, and send
// next to nothing. They must cost little memory, and good batches are served meanwhile.
func TestForgedBodiesAllocateLittle(t *testing.T) { // not parallel: it measures memory
	f := newFixture(t)
	handler := receiver.NewHandler(receiver.Options{
		Routes: f.routes, Sender: sink.NewSender(sink.Options{Poster: &sink.Client{}}), Metrics: f.metrics, Logger: f.routes.Logger,
	})
	address := serve(t, &receiver.Server{Handler: handler, Logger: slog.New(slog.DiscardHandler)})
	const senders, size = 1000, 50 << 20
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var refused atomic.Int64
	var wait sync.WaitGroup
	for i := range senders {
		wait.Go(func() {
			connection, err := net.Dial("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			defer connection.Close()
			_ = connection.SetDeadline(time.Now().Add(time.Minute))
			signature := ""
			if i%2 == 1 {
				signature = "X-Mandrill-Signature: forged\r\n"
			}
			fmt.Fprintf(connection, "POST /mandrill/shop HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n%sContent-Length: %d\r\n\r\nmandrill_events=", signature, size)
			_ = connection.(*net.TCPConn).CloseWrite()
			response, err := http.ReadResponse(bufio.NewReader(connection), nil)
			if err != nil || response.StatusCode < 400 {
				t.Errorf("sender %d: %v, %v", i, response, err)
				return
			}
			refused.Add(1)
		})
	}
	for range 20 {
		request := f.request(t, string(mandrilltest.Batch([]byte(`{"event":"open"}`))))
		request.URL.Host = address
		if response, _ := f.do(t, request); response.StatusCode != http.StatusOK {
			t.Errorf("a good batch got %d meanwhile", response.StatusCode)
		}
	}
	wait.Wait()
	runtime.GC()
	runtime.ReadMemStats(&during)
	if refused.Load() != senders {
		t.Errorf("%d of %d requests were refused", refused.Load(), senders)
	}
	if grown := int64(during.TotalAlloc - before.TotalAlloc); grown > senders*300<<10 { // client and server, connections included
		t.Errorf("%d MiB were allocated for %d bodies of %d MiB", grown>>20, senders, size>>20)
	}
}
