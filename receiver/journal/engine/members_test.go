package engine_test

import (
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

func TestMembers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ peers, hostname, want string }{
		{"a:1, b:1 ,C:1", "x", "a:1,b:1,c:1"},
		{"a:1,a:2,[::1]:1", "x", "a:1,a:2,[::1]:1"},
		{"buffer:6222", "receiver-2", "receiver-0.buffer:6222,receiver-1.buffer:6222,receiver-2.buffer:6222"},
		{"buffer.ns.svc:6222", "mandrill-receiver-0.buffer.ns.svc", "mandrill-receiver-0.buffer.ns.svc:6222,mandrill-receiver-1.buffer.ns.svc:6222,mandrill-receiver-2.buffer.ns.svc:6222"},
		{"", "receiver-0", "host:port"},
		{"a:1,,b:1", "x", "host:port"},
		{"a,b,c", "x", "host:port"},
		{"a:1,b:0,c:1", "x", "host:port"},
		{":1,:2,:3", "x", "host:port"},
		{"a:1,b:1", "x", "there must be 3 members"},
		{"a:1,b:1,A:1", "x", "there must be 3 members"},
		{"a:1,b:1,c:1,d:1", "x", "there must be 3 members"},
		{"buffer:6222", "receiver", "does not end in -0, -1 or -2"},
		{"buffer:6222", "receiver-3", "does not end in -0, -1 or -2"},
		{"buffer:6222", "-1", "does not end in -0, -1 or -2"},
		{"buffer:6222", "receiver-x", "does not end in -0, -1 or -2"},
	} {
		got, err := engine.Members(test.peers, test.hostname)
		if err == nil && strings.Join(got, ",") != test.want || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q at %q: %v, error %v, want %q", test.peers, test.hostname, got, err, test.want)
		}
	}
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	if !engine.Loopback([]string{"127.0.0.1:1", "localhost:2", "[::1]:3", "127.8.0.1:4"}) {
		t.Error("these are of this machine")
	}
	for _, other := range []string{"10.0.0.1:1", "receiver:1", "[fe80::1]:1", "0.0.0.0:1"} {
		if engine.Loopback([]string{"127.0.0.1:1", other}) {
			t.Errorf("%s is not of this machine alone", other)
		}
	}
}
