package receiver

import (
	"bytes"
	"log/slog"
)

// serverLog receives the log of net/http's server. Its lines hold addresses of clients, what they sent, and values of panics,
// so only their class is logged, and the stack of a panic.
type serverLog struct{ logger *slog.Logger }

var serverFaults = []struct{ prefix, class string }{
	{"http: TLS handshake error", "TLS handshake"},
	{"http: Accept error", "accepting a connection"},
	{"http2: ", "HTTP/2"},
}

func (l serverLog) Write(line []byte) (int, error) {
	if bytes.HasPrefix(line, []byte("http: panic serving")) || bytes.HasPrefix(line, []byte("http2: panic serving")) {
		_, stack, _ := bytes.Cut(line, []byte("\ngoroutine "))
		l.logger.Error("Recovered from a panic", "stack", string(stack))
		return len(line), nil
	}
	class := "other"
	for _, fault := range serverFaults {
		if bytes.HasPrefix(line, []byte(fault.prefix)) {
			class = fault.class
			break
		}
	}
	l.logger.Debug("Could not serve a connection", "fault", class)
	return len(line), nil
}
