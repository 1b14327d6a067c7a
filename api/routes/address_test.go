package routes_test

import (
	"net/netip"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

func TestLocalAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"127.0.0.1": true, "127.8.9.10": true, "::1": true, "::ffff:127.0.0.1": true,
		"0.0.0.0": true, "::": true, "::ffff:0.0.0.0": true,
		"169.254.169.254": true, "::ffff:169.254.169.254": true, "fe80::1": true, "fe80::1%eth0": true,
		"224.0.0.1": true, "239.1.2.3": true, "ff02::1%eth0": true, "ff05::2": true,
		"fd00:ec2::254": true, "fd00:ec2::254%eth0": true, "fd20:ce::254": true, "100.100.100.200": true, "64:ff9b::a9fe:a9fe": true, "64:ff9b::7f00:1": true, "64:ff9b:1::7f00:1": true, "168.63.129.16": true, "192.0.0.192": true,

		"10.0.0.1": false, "172.16.0.1": false, "192.168.1.1": false, "203.0.113.9": false, "::ffff:203.0.113.9": false,
		"169.253.255.255": false, "128.0.0.1": false, "2001:db8::1": false, "fd00:ec2::253": false, "fd00::1": false, "64:ff9b::cb00:7109": false, "100.100.100.201": false,
	} {
		if got := routes.LocalAddress(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: got %t, want %t", address, got, want)
		}
	}
	if routes.LocalAddress(netip.Addr{}) {
		t.Error("no address at all is a local one")
	}
}
