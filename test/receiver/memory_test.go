package receiver_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

// largeBody is the bytes of one inbound mail with an attachment of 45 MB, or of a batch of as many bytes.
const largeBody = 60_000_000

// A large body is in memory once. What comes to it is bounded too: with a buffer the caches of its server, and for many events their
// messages. The bounds leave room for runs that differ; docs/performance.md has figures. The pages of the program's file do not count.
func TestMemoryOfALargeBody(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("peak memory is read from /proc")
	}
	for _, c := range []struct {
		name   string
		events int
		texts  func(t *testing.T, events int) []string
		buffer bool
		most   float64 // times the body
	}{
		{"Direct, one event", 1, attachments, false, 1.8},
		{"Direct, many events", 1000, attachments, false, 1.8},
		{"Direct, many events with escapes", 1000, headers, false, 1.1},
		{"with a buffer, one event", 1, attachments, true, 2.1},
		{"with a buffer, many events", 1000, attachments, true, 4},
		{"with a buffer, many events with escapes", 1000, headers, true, 1.3},
	} {
		t.Run(c.name, func(t *testing.T) {
			var arrived atomic.Int64
			sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if n, _ := io.Copy(io.Discard, r.Body); n > largeBody/3/int64(c.events) {
					arrived.Add(1)
				}
			}))
			t.Cleanup(sink.Close)
			start := func() *replica {
				args := []string{"--config", writeRoutes(t, sink.URL)}
				if c.buffer {
					args = append(args, "--buffer=embedded", "--buffer-dir", t.TempDir(), "--buffer-max-bytes=1073741824")
				}
				return newReplica(t, args...)
			}
			receiver := start()
			value := largeBatch(c.texts(t, c.events))
			body := append([]byte(mandrill.EventsField+"="), []byte(url.QueryEscape(string(value)))...)
			signature := mandrill.Sign(signingKey, hookURL, mandrill.Form{{Name: mandrill.EventsField, Value: value}})
			eventually(t, "the batch is accepted", func() bool {
				if receiver.postBody(body, signature) == http.StatusOK {
					return true
				}
				receiver.stop() // another one gets it, so that the peak is that of one body
				arrived.Store(0)
				receiver = start()
				return false
			})
			eventually(t, "all events are delivered", func() bool { return arrived.Load() >= int64(c.events) })
			peak := receiver.peakMemory()
			if ratio := float64(peak) / float64(len(body)); ratio > c.most {
				t.Errorf("the peak is %d MiB, %.2f times the body; at most %.1f times is allowed", peak>>20, ratio, c.most)
			} else {
				t.Logf("the peak is %d MiB, %.2f times the body", peak>>20, ratio)
			}
		})
	}
}

// attachments do not compress, and have no escapes in a form.
func attachments(t *testing.T, events int) []string {
	t.Helper()
	noise := make([]byte, largeBody*3/4)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	text := base64.URLEncoding.EncodeToString(noise)
	each := len(text) / events
	texts := make([]string, events)
	for i := range texts {
		texts[i] = text[i*each : (i+1)*each]
	}
	return texts
}

// headers have as many bytes in a form, of which escapes are two thirds.
func headers(_ *testing.T, events int) []string {
	const header = `[\"X-Id\",\"1\"],`
	return slices.Repeat([]string{strings.Repeat(header, largeBody/events/len(url.QueryEscape(header)))}, events)
}

// largeBatch is a batch of events with these texts.
func largeBatch(texts []string) []byte {
	elements := make([]string, len(texts))
	for i, text := range texts {
		elements[i] = fmt.Sprintf(`{"event":"inbound","ts":1767225604,"msg":{"email":"help%d@in.example","raw_msg":"%s"}}`, i, text)
	}
	return []byte("[" + strings.Join(elements, ",") + "]")
}

// postBody sends a signed body, and returns the status, or 0.
func (r *replica) postBody(body []byte, signature string) int {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "http://"+r.address+"/hook", bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Host = "hooks.example.com"
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set(mandrill.SignatureHeader, signature)
	response, err := loopback.Client.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// peakMemory returns the most memory in bytes that the process has had, except the pages of its file.
func (r *replica) peakMemory() int64 {
	r.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.process.Process.Pid))
	if err != nil {
		r.t.Fatal(err)
	}
	value := func(name string) int64 {
		found := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(status)
		if found == nil {
			r.t.Fatalf("no %s in %s", name, status)
		}
		kilobytes, err := strconv.ParseInt(string(found[1]), 10, 64)
		if err != nil {
			r.t.Fatal(err)
		}
		return kilobytes << 10
	}
	return value("VmHWM") - value("RssFile")
}
