package sink

import (
	"context"
	"encoding/base64"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/sink/http1"
)

// leanTransport makes requests to one host by package http1.
type leanTransport struct{ pool http1.Pool }

func (c *Client) newLeanTransport(key transportKey) transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: dialKeepAlive}
	if key.guarded {
		dialer = c.dialer()
	}
	return &leanTransport{http1.Pool{Dial: func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", key.address) }}}
}

func (t *leanTransport) post(ctx context.Context, to *endpoint, timeout time.Duration, token string, payload Payload) (http1.Answer, error) {
	fields := payload.Fields
	switch user := to.url.User; {
	case token != "":
		fields = append(fields[:len(fields):len(fields)], "Authorization: Bearer "+token+"\r\n"...)
	case user != nil:
		password, _ := user.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		fields = append(fields[:len(fields):len(fields)], "Authorization: Basic "+credentials+"\r\n"...)
	}
	return t.pool.Post(ctx, time.Now().Add(timeout), http1.Request{Head: to.head, Fields: fields, Body: payload.Body})
}

func (t *leanTransport) closeIdle() { t.pool.CloseIdle() }

// leanMayServe reports whether a URL is one of HTTP without TLS that needs no rewriting. Others are left to net/http, which also knows
// what is wrong with them.
func leanMayServe(u *url.URL) bool {
	return u.Scheme == "http" && u.Opaque == "" && u.Hostname() != "" && !strings.HasSuffix(u.Host, ":") &&
		isPlain(u.Host) && !strings.ContainsAny(u.Host, "%") && isPlain(u.RequestURI())
}

// isPlain reports whether a text is printable ASCII without spaces.
func isPlain(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}

// leanHead returns the request line, and the fields that net/http sends with every request.
func leanHead(u *url.URL) []byte {
	return []byte("POST " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\nUser-Agent: Go-http-client/1.1\r\n")
}

func leanAddress(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}
