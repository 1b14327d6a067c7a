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
	// unsignedBytes, forgedBytes and slowBytes are what the bodies of attacks have, or announce.
	unsignedBytes = 50 << 20
	forgedBytes   = 1 << 20
	slowBytes     = 1 << 20
	// trickle is how often a slow sender sends a byte.
	dripInterval = time.Second
	// sendBuffer keeps what the kernel holds of bodies that nobody reads small.
	sendBuffer = 64 << 10
	// attackTimeout ends a request of an attack that nobody ends.
	attackTimeout = time.Minute
)

// closed stands for a status where a connection ended without an answer, as slow ones may, and any on a busy machine.
const noAnswer = 0

// attack is a way in which senders are up to no good.
type attack struct {
	name  string
	wants []int // the statuses that docs/troubleshooting.md has for it
	// send sends a request, or the beginning of one.
	send func(ctx context.Context, w io.Writer) error
}

func attacks() []attack {
	head := "POST " + hookPath + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n"
	unsigned := fmt.Sprintf(head+"\r\nmandrill_events=", unsignedBytes)
	slow := fmt.Sprintf(head+"X-Mandrill-Signature: forged\r\n\r\n", slowBytes-1)
	begun := slow + strings.Repeat("x", slowBytes/4) // for which there is memory for the whole
	block := bytes.Repeat([]byte("x"), sendBuffer)
	return []attack{
		{"unsigned, 50 MB", []int{http.StatusForbidden}, func(_ context.Context, w io.Writer) error {
			_, err := io.WriteString(w, unsigned)
			for sent := 0; err == nil && sent < unsignedBytes; sent += len(block) {
				_, err = w.Write(block)
			}
			return err
		}},
		{"wrongly signed, 1 MB", []int{http.StatusForbidden, http.StatusServiceUnavailable}, func(_ context.Context, w io.Writer) error {
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

// forged is a request with a batch that is signed with another key.
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

// drip sends a byte now and then.
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

// answers are how often each status was seen, and how many requests there were.
type statusCounts struct {
	mu       sync.Mutex
	requests int
	statuses map[int]int
}

// String is such as "403: 1000, closed: 3".
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

// begin begins an attack with senders that come again as soon as they are answered. What it returns ends it, and waits
// until all are gone.
func (a attack) start(ctx context.Context, address string, senders int) (seen *statusCounts, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	seen = &statusCounts{statuses: map[int]int{}}
	var running sync.WaitGroup
	for range senders {
		running.Go(func() {
			for ctx.Err() == nil {
				connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
				if err != nil { // the machine cannot keep up
					pause(ctx, resendPause)
					continue
				}
				seen.countRequest()
				status := a.request(ctx, connection.(*net.TCPConn))
				if ctx.Err() == nil { // otherwise it was ours to end
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

// request makes one request and returns the status that it is answered with, or closed.
func (a attack) request(ctx context.Context, connection *net.TCPConn) int {
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
	_ = connection.SetLinger(0) // or ports run out
	_ = connection.SetWriteBuffer(sendBuffer)
	_ = connection.SetDeadline(time.Now().Add(attackTimeout))
	sending, answered := context.WithCancel(ctx)
	var writer sync.WaitGroup
	defer writer.Wait()
	defer connection.Close() //nolint:errcheck // nothing is lost, and it ends the writer
	defer answered()
	writer.Go(func() { _ = a.send(sending, connection) }) // until it is answered
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return noAnswer
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// unexpected tells of statuses that should not have been seen, and of an attack that was none.
func (a attack) unexpected(seen *statusCounts) error {
	for status := range seen.statuses {
		if status != noAnswer && !slices.Contains(a.wants, status) {
			return fmt.Errorf("senders saw %s, want %v", seen, a.wants)
		}
	}
	if seen.requests == 0 {
		return errors.New("no sender got a connection")
	}
	return nil
}
