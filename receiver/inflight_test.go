package receiver_test

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// Bodies take their share of the memory as they arrive. One that finds no room waits, and is refused after a while.
func TestBodyWaitsForMemoryAndIsRefusedAfterAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const unit = receiver.FirstBuffer // what a body is given first
		metrics := receiver.NewMetrics(prometheus.NewRegistry())
		loaded := &routing.Routes{Logger: slog.New(slog.DiscardHandler), Metrics: routing.NewMetrics(prometheus.NewRegistry())}
		if err := loaded.Load("routes", []byte("routes: [{name: x, url: 'https://h.example/x', keys: [k], source: s, sink: {uri: 'http://x.example'}}]")); err != nil {
			t.Fatal(err)
		}
		handler := receiver.NewHandler(receiver.Options{
			Routes: loaded, Metrics: metrics, Logger: slog.New(slog.DiscardHandler), MaxBodyBytes: 2 * unit, MaxInflightBytes: 4 * unit,
		})
		type running struct {
			body   *io.PipeWriter
			status chan *httptest.ResponseRecorder
		}
		begin := func(announced int64) running {
			reader, writer := io.Pipe()
			r := running{writer, make(chan *httptest.ResponseRecorder, 1)}
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/x", reader)
			request.ContentLength = announced
			request.Header.Set(mandrill.SignatureHeader, "forged")
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			go func() {
				response := httptest.NewRecorder()
				handler.ServeHTTP(response, request)
				r.status <- response
			}()
			synctest.Wait()
			return r
		}
		write := func(r running, n int) {
			go func() { _, _ = r.body.Write([]byte(strings.Repeat("x", n))) }()
			synctest.Wait()
		}
		status := func(r running) int {
			select {
			case response := <-r.status:
				if response.Code == http.StatusServiceUnavailable && response.Header().Get("Retry-After") == "" {
					t.Error("a busy receiver does not say when to come again")
				}
				return response.Code
			default:
				return 0
			}
		}
		var held []running
		for range 4 {
			held = append(held, begin(2*unit)) // what is announced is not what is held
		}
		late := begin(100)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if got := status(late); got != 0 {
			t.Errorf("a body that could wait was answered with %d", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := status(late); got != http.StatusServiceUnavailable {
			t.Errorf("a body that found no room was answered with %d", got)
		}
		// one that waits goes on when another is done
		late = begin(100)
		_ = held[0].body.Close()
		write(late, 100)
		_ = late.body.Close()
		synctest.Wait()
		if first, second := status(held[0]), status(late); first != http.StatusForbidden || second != http.StatusForbidden {
			t.Errorf("answered with %d and %d, want 403 for both", first, second)
		}
		// growth waits too, and what was held is free again afterwards
		write(held[1], unit+1)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if got := status(held[1]); got != http.StatusServiceUnavailable {
			t.Errorf("a body that could not grow was answered with %d", got)
		}
		for _, r := range held {
			_ = r.body.Close()
		}
		synctest.Wait()
		for range 2 {
			large := begin(2*unit - 1)
			write(large, 2*unit-1)
			_ = large.body.Close()
			synctest.Wait()
			if got := status(large); got != http.StatusForbidden {
				t.Errorf("a body that has the room for itself was answered with %d", got)
			}
		}
	})
}

// Who wants little has a reserve, and goes first. Of the others the eldest does, whoever came to wait first.
func TestByteLimiterServesSmallThenOldestBodies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const kib = 1 << 10
		take, give := receiver.ByteLimiter(1024*kib, 384*kib) // so that 256 KiB are reserved
		var mu sync.Mutex
		var granted []int64
		begin := func(body, bytes int64) {
			go func() {
				if take(t.Context(), body, bytes) == nil {
					mu.Lock()
					defer mu.Unlock()
					granted = append(granted, body)
				}
			}()
			synctest.Wait()
		}
		want := func(bodies ...int64) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			slices.Sort(granted)
			if diff := cmp.Diff(bodies, granted); diff != "" {
				t.Errorf("shares were granted to (-want +got):\n%s", diff)
			}
			granted = nil
		}
		begin(1, 768*kib)
		begin(2, 65*kib)
		want(1)
		for body := range int64(4) {
			begin(10+body, 64*kib)
		}
		begin(20, 8*kib)
		begin(21, 4*kib)
		want(10, 11, 12, 13)
		begin(31, 100*kib)
		begin(30, 100*kib)
		give(76 * kib)
		want(20, 21)
		give((65 + 256 - 64) * kib)
		want(2)
		give(100 * kib)
		want(30)
		time.Sleep(4 * time.Second)
		begin(40, 100*kib)
		time.Sleep(2 * time.Second) // for which the last one did not wait
		give(100 * kib)
		want(40)
	})
}

// A large inbound mail is held once: the body, decoded in place, of which the event is a part.
func TestLargeBatchIsHeldInMemoryOnce(t *testing.T) { // not parallel: nothing else may allocate meanwhile
	f := newFixture(t)
	const size = 60 << 20
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	got := make(chan int64, 1)
	go func() { // a sink that allocates nothing to speak of
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		defer connection.Close()
		request, err := http.ReadRequest(bufio.NewReader(connection))
		if err != nil {
			return
		}
		n, _ := io.Copy(io.Discard, request.Body)
		_, _ = io.WriteString(connection, "HTTP/1.1 204 No Content\r\n\r\n")
		got <- n
	}()
	document := f.document()
	document.Routes[0].Sink.URI = "http://" + listener.Addr().String()
	f.loadRoutes(t, document)
	handler := receiver.NewHandler(receiver.Options{Routes: f.routes, Sender: sink.NewSender(sink.Options{}), Metrics: f.metrics, Logger: f.routes.Logger})
	batch := `[{"event":"inbound","ts":1767258002,"msg":{"raw_msg":"` + strings.Repeat("a line of mail that is not escaped =\\n", size/40) + `"}}]`
	request := f.requestTo(t, "/mandrill/shop", plainURL, signingKey, batch)
	if request.ContentLength < size {
		t.Fatalf("the body has %d bytes only", request.ContentLength)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, request)
	runtime.ReadMemStats(&after)
	if response.Code != http.StatusOK {
		t.Fatalf("status %d: %s", response.Code, f.log.String())
	}
	if n := <-got; n != int64(len(batch))-2 {
		t.Errorf("the sink got %d bytes of %d", n, len(batch)-2)
	}
	grown := float64(after.TotalAlloc-before.TotalAlloc) / float64(request.ContentLength)
	t.Logf("%.2f times the body was allocated", grown)
	if grown > 2.2 { // what was allocated in all is more than what was held at any time
		t.Errorf("%.2f times the body was allocated, want 2.2 at most", grown)
	}
}
