package loopback

import (
	"net"
	"testing"
)

func TestAddressesAreOutsideOfThoseOfTheSystem(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		address, err := Address(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if seen[address] {
			t.Fatalf("%s was given twice", address)
		}
		seen[address] = true
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = listener.Close()
		if _, port, _ := net.SplitHostPort(address); len(port) != 5 || port >= "30000" {
			t.Errorf("port %s, want one from 10000 to 29999", port)
		}
	}
}

// Another process sees a claim as a bound UDP socket.
func TestPortsClaimedByOthersAreNotClaimed(t *testing.T) {
	t.Parallel()
	port, err := Port(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if claim(t.Context(), port) {
		t.Errorf("port %d was claimed twice", port)
	}
}

// A program of another process may listen without a claim.
func TestPortsWithListenersAreNotClaimed(t *testing.T) {
	t.Parallel()
	for _, host := range []string{Host, ""} {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if port := listener.Addr().(*net.TCPAddr).Port; claim(t.Context(), port) {
			t.Errorf("port %d was claimed while a program listens at it on %q", port, host)
		}
	}
}
