package engine

import "testing"

func TestRedact(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"dial tcp 10.0.0.1:6222: connect: connection refused":     "dial tcp [address]: connect: connection refused",
		"route nats://user:pass@host:6222/x failed":               "route [address] failed",
		"lookup buffer-1.buffer on 10.0.0.1:53: no such host":     "lookup [address] on [address]: no such host",
		"Error on buffer-1.buffer.ns.svc:6222, trying [::1]:6222": "Error on [address], trying [address]",
		"stream 'mandrill-batch' at 12:34":                        "stream 'mandrill-batch' at [address]",
	} {
		if got := redact(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
