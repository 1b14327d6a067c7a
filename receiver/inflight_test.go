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

// A body reserves memory as it arrives, not what it announces. Without free memory it waits, and is refused after a while.
func TestBodyWaitsForMemoryAndIsRefusedAfterAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const firstBuffer = receiver.FirstBuffer
		metrics := receiver.NewMetrics(prometheus.NewRegistry())
		table := &routing.Routes{Logger: slog.New(slog.DiscardHandler), Metrics: routing.NewMetrics(prometheus.NewRegistry())}
		if err := table.Load("routes", []byte("routes: [{name: x, url: 'https://h.example/x', keys: [k], source: s, sink: {uri: 'http://x.example'}}]")); err != nil {
			t.Fatal(err)
		}
		handler := receiver.NewHandler(receiver.Options{
			Routes: table, Metrics: metrics, Logger: slog.New(slog.DiscardHandler), MaxBodyBytes: 2 * firstBuffer, MaxInflightBytes: 4 * firstBuffer,
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
			request.Header.Set("Content-Type", formType)
			go func() {
				response := httptest.NewRecorder()
				handler.ServeHTTP(response, request)
				r.status <- response
			}()
			synctest.Wait()
			return r
		}
		write := func(r running, n int) {
			go func() { _, _ = r.body.Write([]byte(strings.Repeat("=", n))) }()
			synctest.Wait()
		}
		status := func(r running) int {
			select {
			case response := <-r.status:
				if response.Code == http.StatusServiceUnavailable && response.Header().Get("Retry-After") == "" {
					t.Error("503 without Retry-After")
				}
				return response.Code
			default:
				return 0
			}
		}
		var requests []running
		for range 4 {
			requests = append(requests, begin(2*firstBuffer)) // they announce two buffers each and hold one
		}
		late := begin(100)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if got := status(late); got != 0 {
			t.Errorf("a body that may still wait got %d", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := status(late); got != http.StatusServiceUnavailable {
			t.Errorf("a body without memory got %d, want 503", got)
		}
		// A body that waits continues when another one ends.
		late = begin(100)
		_ = requests[0].body.Close()
		write(late, 100)
		_ = late.body.Close()
		synctest.Wait()
		if first, second := status(requests[0]), status(late); first != http.StatusForbidden || second != http.StatusForbidden {
			t.Errorf("got %d and %d, want 403 for both", first, second)
		}
		// A body that has to grow waits too, and releases what it held.
		write(requests[1], firstBuffer+1)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if got := status(requests[1]); got != http.StatusServiceUnavailable {
			t.Errorf("a body that could not grow got %d, want 503", got)
		}
		for _, r := range requests {
			_ = r.body.Close()
		}
		synctest.Wait()
		for range 2 {
			large := begin(2*firstBuffer - 1)
			write(large, 2*firstBuffer-1)
			_ = large.body.Close()
			synctest.Wait()
			if got := status(large); got != http.StatusForbidden {
				t.Errorf("a body with all memory free got %d, want 403", got)
			}
		}
	})
}

// Small requests have a reserve and go first. Among the others the oldest body goes first, not the one that has waited longest.
func TestByteLimiterServesSmallThenOldestBodies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const kib = 1 << 10
		acquire, release := receiver.ByteLimiter(1024*kib, 384*kib) // which reserves 256 KiB for small requests
		var mu sync.Mutex
		var granted []int64
		begin := func(body, bytes int64) {
			go func() {
				if acquire(t.Context(), body, bytes) == nil {
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
				t.Errorf("granted to bodies (-want +got):\n%s", diff)
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
		release(76 * kib)
		want(20, 21)
		release((65 + 256 - 64) * kib)
		want(2)
		release(100 * kib)
		want(30)
		time.Sleep(4 * time.Second)
		begin(40, 100*kib)
		time.Sleep(2 * time.Second) // body 31 gives up, body 40 still waits
		release(100 * kib)
		want(40)
	})
}

// The body is decoded in place and the event is a part of it, so that a large inbound mail is in memory once.
func TestLargeBatchIsHeldInMemoryOnce(t *testing.T) { // not parallel: it measures allocations
	f := newFixture(t)
	const size = 60 << 20
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	got := make(chan int64, 1)
	go func() { // a sink that allocates next to nothing
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
		t.Fatalf("the body has only %d bytes", request.ContentLength)
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
	t.Logf("allocated %.2f times the body", grown)
	if grown > 2.2 { // all allocations, which is more than what was held at any time
		t.Errorf("allocated %.2f times the body, want 2.2 at most", grown)
	}
}
