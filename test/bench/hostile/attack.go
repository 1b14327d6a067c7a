package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

const (
	// unsignedBytes, forgedBytes and slowBytes are the sizes that the bodies of attacks have or announce.
	unsignedBytes = 50 << 20
	forgedBytes   = 1 << 20
	slowBytes     = 1 << 20
	// dripInterval is how often a slow sender sends a byte.
	dripInterval = time.Second
	// sendBuffer limits what the kernel buffers of unread bodies.
	sendBuffer = 64 << 10
	// attackTimeout ends requests that the receiver does not end.
	attackTimeout = time.Minute
)

// noAnswer stands for the status of a connection that was closed without an answer: slow ones may be, and any on a busy machine.
const noAnswer = 0

// attack is a kind of hostile request.
type attack struct {
	name  string
	wants []int // the statuses that docs/troubleshooting.md documents for it
	// send sends the request, or its beginning.
	send func(ctx context.Context, w io.Writer) error
}

func attacks() []attack {
	head := "POST " + hookPath + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n"
	unsigned := fmt.Sprintf(head+"\r\nmandrill_events=", unsignedBytes)
	slow := fmt.Sprintf(head+"X-Mandrill-Signature: forged\r\n\r\n", slowBytes-1)
	begun := slow + strings.Repeat("x", slowBytes/4) // enough for the receiver to reserve memory for all of it
	block := bytes.Repeat([]byte("x"), sendBuffer)
	return []attack{
		{"unsigned, 50 MB", []int{http.StatusForbidden}, func(_ context.Context, w io.Writer) error {
			_, err := io.WriteString(w, unsigned)
			for sent := 0; err == nil && sent < unsignedBytes; sent += len(block) {
				_, err = w.Write(block)
			}
			return err
		}},
		{"forged signature, 1 MB", []int{http.StatusForbidden, http.StatusServiceUnavailable}, func(_ context.Context, w io.Writer) error {
			_, err := w.Write(forgedRequest())
			return err
		}},
		{"slow headers", []int{http.StatusBadRequest}, func(ctx context.Context, w io.Writer) error {
			return drip(ctx, w, "POST "+hookPath+" HTTP/1.1\r\nHost: x\r\n")
		}},
		{"slow bodies", []int{http.StatusBadRequest, http.StatusServiceUnavailable}, func(ctx context.Context, w io.Writer) error {
			if _, err := io.WriteString(w, begun); err != nil {
				return err
			}
			return drip(ctx, w, strings.Repeat("x", slowBytes/2))
		}},
	}
}

// forgedRequest is a request with a batch that is signed with another key.
var forgedRequest = sync.OnceValue(func() []byte {
	size := forgedBytes - len(mandrilltest.Body(nil)) - len(url.QueryEscape(`[{"event":"open","x":""}]`))
	batch := fmt.Appendf(nil, `[{"event":"open","x":%q}]`, strings.Repeat("x", size))
	request, err := mandrilltest.NewRequest(context.Background(), hookURL, hookURL, "another key", batch)
	if err != nil {
		panic(err) // the URL is a constant
	}
	var text bytes.Buffer
	_ = request.Write(&text) // into memory
	return text.Bytes()
})

// drip sends a text byte by byte.
func drip(ctx context.Context, w io.Writer, text string) error {
	for i := range text {
		if _, err := io.WriteString(w, text[i:i+1]); err != nil {
			return err
		}
		if !pause(ctx, dripInterval) {
			return ctx.Err()
		}
	}
	return nil
}

// statusCounts counts requests, and answers by status.
type statusCounts struct {
	mu       sync.Mutex
	requests int
	statuses map[int]int
}

// String formats the counts like "403: 1000, closed: 3".
func (a *statusCounts) String() string {
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(a.statuses)) {
		name := strconv.Itoa(status)
		if status == noAnswer {
			name = "closed"
		}
		parts = append(parts, fmt.Sprintf("%s: %d", name, a.statuses[status]))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func (a *statusCounts) add(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.statuses[status]++
}

func (a *statusCounts) countRequest() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests++
}

// start starts an attack by senders that repeat their request as soon as it is answered. The returned function ends the attack and
// waits for all senders.
func (a attack) start(ctx context.Context, address string, senders int) (seen *statusCounts, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	seen = &statusCounts{statuses: map[int]int{}}
	var running sync.WaitGroup
	for range senders {
		running.Go(func() {
			for ctx.Err() == nil {
				connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
				if err != nil { // the machine is overloaded
					pause(ctx, resendPause)
					continue
				}
				seen.countRequest()
				status := a.request(ctx, connection.(*net.TCPConn))
				if ctx.Err() == nil { // otherwise end has closed the connection
					seen.add(status)
				}
			}
		})
	}
	return seen, func() {
		cancel()
		running.Wait()
	}
}

// request makes one request and returns its status, or noAnswer.
func (a attack) request(ctx context.Context, connection *net.TCPConn) int {
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
	_ = connection.SetLinger(0) // without TIME_WAIT, or ports run out
	_ = connection.SetWriteBuffer(sendBuffer)
	_ = connection.SetDeadline(time.Now().Add(attackTimeout))
	sending, answered := context.WithCancel(ctx)
	var writer sync.WaitGroup
	defer writer.Wait()
	defer connection.Close() //nolint:errcheck // it ends the writer, nothing else depends on it
	defer answered()
	writer.Go(func() { _ = a.send(sending, connection) }) // until the answer
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return noAnswer
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// unexpected returns an error for undocumented statuses, and for an attack that never connected.
func (a attack) unexpected(seen *statusCounts) error {
	for status := range seen.statuses {
		if status != noAnswer && !slices.Contains(a.wants, status) {
			return fmt.Errorf("attackers got %s, want only %v", seen, a.wants)
		}
	}
	if seen.requests == 0 {
		return errors.New("no attacker could connect")
	}
	return nil
}
