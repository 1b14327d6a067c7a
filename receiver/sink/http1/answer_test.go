package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
)

// What is recognized without net/http's parser is what that reads, byte for byte, and says nothing about the connection.
func FuzzPlainAnswersAreThoseOfNetHTTP(f *testing.F) {
	for _, answer := range []string{
		"HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nfine", "HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length:0\r\nX: y\t\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n", "HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\nConnection: close\r\nContent-Length: 4\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n folded: 1\r\n\r\n", "HTTP/1.1 2xx OK\r\nContent-Length: 4\r\n\r\n", "HTTP/1.1 200 \r\nContent-Length: \v4\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", "HTTP/1.1 299 OK\r\nContent-Length: 0007\r\n\r\n",
	} {
		f.Add([]byte(answer))
	}
	recognized := 0
	f.Fuzz(func(t *testing.T, data []byte) {
		status, header, length, ok := plainAnswer(data)
		if !ok {
			return
		}
		recognized++
		in := bufio.NewReader(bytes.NewReader(data))
		response, err := http.ReadResponse(in, posted)
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		if response.StatusCode != status || response.ContentLength != int64(length) && status != 204 || response.Close || len(response.TransferEncoding) > 0 {
			t.Errorf("%q: got %d and %d bytes, net/http %+v", data, status, length, response)
		}
		if body, err := io.ReadAll(response.Body); err == nil && string(body) != string(data[header:header+length]) {
			t.Errorf("%q: body %q", data, body)
		}
	})
}

// The usual answers of servers are plain.
func TestUsualAnswersAreRecognized(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]bool{
		"HTTP/1.1 202 Accepted\r\nDate: Sat, 28 Nov 2026 23:00:00 GMT\r\nContent-Length: 0\r\n\r\n":                     true,
		"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\ncontent-length: 13\r\n\r\n{\"ok\":true}\n": true,
		"HTTP/1.1 204 No Content\r\nServer: nginx\r\n\r\n":                                                              true,
		"HTTP/1.1 202 Accepted\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n":                                  false,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":                                                false,
		"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n":                                                                  false,
		"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n":                                                                false,
	} {
		if _, _, _, ok := plainAnswer([]byte(answer)); ok != want {
			t.Errorf("%q: %t", answer, ok)
		}
	}
}
