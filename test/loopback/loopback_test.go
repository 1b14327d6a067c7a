package loopback

import (
	"net"
	"strconv"
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

// Another process sees a claim as a bound UDP socket, and a program that listens as a bound TCP socket.
func TestPortsOfOthersAreNotClaimed(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp", "tcp"} {
		port, err := Port(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if network == "udp" {
			if claim(t.Context(), port) {
				t.Errorf("port %d was claimed twice", port)
			}
			continue
		}
		mu.Lock()
		_ = claims[len(claims)-1].Close() // a process that ended its claim, and listens
		mu.Unlock()
		listener, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			t.Skip("SKIPPED, PORTS OF PROGRAMS NOT TESTED: another process took the port meanwhile: ", err)
		}
		defer listener.Close()
		if claim(t.Context(), port) {
			t.Errorf("port %d was claimed while a program listens at it", port)
		}
	}
}
