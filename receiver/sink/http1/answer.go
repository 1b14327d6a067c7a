package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// MaxAnswer bounds what is read of the body of an answer to make its connection reusable.
const MaxAnswer = 64 << 10

// Answer is the answer to a request. The body of a success is not kept: it has no meaning.
type Answer struct {
	Status     int
	RetryAfter string
	Body       []byte // at most MaxAnswer bytes, as many as arrived
}

// Success reports whether the status is 2xx.
func (a Answer) Success() bool { return a.Status >= 200 && a.Status < 300 }

// posted is what ReadResponse must know of the request.
var posted = &http.Request{Method: http.MethodPost}

// readAnswer reads an answer. It reports whether the connection can be used for another request.
func (c *connection) readAnswer() (answer Answer, reusable bool, err error) {
	c.source.most = maxHeader
	if _, err := c.in.Peek(1); err != nil {
		return Answer{}, false, err
	}
	buffered, _ := c.in.Peek(c.in.Buffered()) // what is buffered can be peeked
	if status, header, length, ok := plainAnswer(buffered); ok {
		c.source.most = 0
		_, _ = c.in.Discard(header) // it is buffered
		discarded, err := c.in.Discard(min(length, MaxAnswer))
		return Answer{Status: status}, err == nil && discarded == length, nil
	}
	response, err := readResponse(c.in)
	c.source.most = 0
	if err != nil {
		return Answer{}, false, err
	}
	answer, whole := ReadAnswer(response)
	return answer, whole && !response.Close, nil
}

// readResponse skips interim answers.
func readResponse(from *bufio.Reader) (*http.Response, error) {
	for {
		response, err := http.ReadResponse(from, posted)
		if err != nil || response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols {
			return response, err
		}
	}
}

// ReadAnswer reads what matters of a response, and closes its body. It reports whether that was all of it.
func ReadAnswer(response *http.Response) (answer Answer, whole bool) {
	answer = Answer{Status: response.StatusCode}
	if answer.Status == http.StatusSwitchingProtocols { // what follows is no body
		_ = response.Body.Close() // nothing was read
		return answer, false
	}
	limited := &io.LimitedReader{R: response.Body, N: MaxAnswer + 1}
	var err error
	if answer.Success() {
		_, err = io.Copy(io.Discard, limited)
	} else {
		answer.RetryAfter = response.Header.Get("Retry-After")
		answer.Body, err = io.ReadAll(limited) // a part is good enough
		answer.Body = answer.Body[:min(len(answer.Body), MaxAnswer)]
	}
	_ = response.Body.Close() // everything that matters was read
	return answer, err == nil && limited.N > 0
}

// plainAnswer recognizes the usual answer in what was read at once: a success by HTTP/1.1 of known length, without a field that says
// anything about the connection or the transfer. It returns the lengths of the header and the body. Everything else, also what is not
// valid, is left to ReadResponse.
func plainAnswer(data []byte) (status, header, length int, ok bool) {
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, 0, 0, false
	}
	first, lines, _ := bytes.Cut(data[:end], []byte("\r\n"))
	const digits, start = len("HTTP/1.1 "), len("HTTP/1.1 2xx ")
	if len(first) < start || string(first[:digits+1]) != "HTTP/1.1 2" || first[start-1] != ' ' || !isText(first) {
		return 0, 0, 0, false
	}
	status, err := strconv.Atoi(string(first[digits : start-1]))
	known := status == http.StatusNoContent
	for len(lines) > 0 && err == nil {
		var line []byte
		line, lines, _ = bytes.Cut(lines, []byte("\r\n"))
		name, value, found := bytes.Cut(line, []byte(":"))
		if !found || !isToken(name) || !isText(value) || concernsConnection(name) {
			return 0, 0, 0, false
		}
		if !equalFold(name, "Content-Length") {
			continue
		}
		if known {
			return 0, 0, 0, false
		}
		known = true
		length, err = lengthOf(bytes.Trim(value, " \t"))
	}
	return status, end + len("\r\n\r\n"), length, known && err == nil
}

// lengthOf parses the value of Content-Length, unless the body is large.
func lengthOf(value []byte) (int, error) {
	const most = 7 // digits
	if len(value) > most || len(bytes.Trim(value, "0123456789")) > 0 {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(string(value))
}

// isText reports whether a line has no control characters.
func isText(line []byte) bool {
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func concernsConnection(name []byte) bool {
	for _, other := range [...]string{"Connection", "Transfer-Encoding", "Trailer", "Upgrade", "Keep-Alive", "Proxy-Connection"} {
		if equalFold(name, other) {
			return true
		}
	}
	return false
}

func equalFold(name []byte, other string) bool {
	return len(name) == len(other) && strings.EqualFold(string(name), other)
}

// isToken reports whether a name has only the characters that names of fields usually have.
func isToken(name []byte) bool {
	for _, c := range name {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return len(name) > 0
}
