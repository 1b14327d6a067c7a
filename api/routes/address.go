package routes

import (
	"net/netip"
	"slices"
	"syscall"
)

// metadata are the addresses of clouds' metadata services that are not link-local: of AWS and Google by IPv6, Alibaba,
// Azure and Oracle.
var metadata = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd20:ce::254"), netip.MustParseAddr("100.100.100.200"),
	netip.MustParseAddr("168.63.129.16"), netip.MustParseAddr("192.0.0.192"),
}

// nat64 are the prefixes of IPv6 addresses that lead to IPv4 addresses, which are their last four bytes.
var nat64 = []netip.Prefix{netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48")}

// LocalAddress reports whether an address is of the machine itself, link-local or a metadata service. What listens there
// trusts everybody who can reach it, so sinks must not make the receiver reach it.
func LocalAddress(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if slices.ContainsFunc(nat64, func(prefix netip.Prefix) bool { return prefix.Contains(ip) }) {
		bytes := ip.As16()
		ip = netip.AddrFrom4([4]byte(bytes[12:]))
	}
	return ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() || slices.Contains(metadata, ip)
}

// Guard returns a [net.Dialer.Control] that refuses addresses right before they are connected to, so that a name cannot resolve to one
// address for the check and to another for the connection (DNS rebinding). The refusal must not contain the address.
func Guard(refuse func(netip.Addr) bool, refusal error) func(network, address string, conn syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		if to, err := netip.ParseAddrPort(address); err != nil || refuse(to.Addr()) {
			return refusal
		}
		return nil
	}
}
