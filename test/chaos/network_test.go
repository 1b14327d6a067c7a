package chaos_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"
)

// network connects members by a bridge, and the server that they share, if they do. Each has its own namespace, and so has the bridge,
// so that the machine's network does not change.
type network struct {
	bridge  *namespace
	members []*namespace
}

// newNetwork makes a network of some members, and the server.
func newNetwork(t *testing.T, hosts int) *network {
	t.Helper()
	const untested = "PARTITIONED NETWORKS"
	n := &network{bridge: newNamespace(t, "-n", untested, nil, "ip link add bridge type bridge; ip link set bridge up; bridge link show")}
	for i := range hosts {
		member := newNamespace(t, "-n", untested, nil, "ip link set lo up")
		n.members = append(n.members, member)
		n.bridge.run("ip", "link", "add", bridgePort(i), "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(member.pid))
		n.bridge.run("ip", "link", "set", bridgePort(i), "master", "bridge", "up")
		member.run("ip", "link", "set", "eth0", "address", macAddress(i), "up")
		member.run("ip", "address", "add", n.host(i)+"/24", "dev", "eth0")
		for k := range hosts {
			if k != i { // with ARP, a member would learn that a host is gone
				member.run("ip", "neighbor", "add", n.host(k), "lladdr", macAddress(k), "dev", "eth0", "nud", "permanent")
			}
		}
	}
	return n
}

func bridgePort(member int) string        { return fmt.Sprintf("port%d", member) }
func macAddress(member int) string        { return fmt.Sprintf("02:00:00:00:00:%02x", member+1) }
func (n *network) host(member int) string { return fmt.Sprintf("10.0.0.%d", member+1) }

// setPartitioned disconnects a member from the others, or connects it again. Its link stays up and the bridge drops its packets, so
// that no member is notified.
func (n *network) setPartitioned(member int, partitioned bool) {
	n.bridge.t.Helper()
	state := "3" // forwarding
	if partitioned {
		state = "0" // disabled
	}
	n.bridge.run("bridge", "link", "set", "dev", bridgePort(member), "state", state)
}

// setSeparated disconnects two members from each other, or connects them again. The third sees both.
func (n *network) setSeparated(first, second int, separated bool) {
	n.bridge.t.Helper()
	isolated := "off"
	if separated {
		isolated = "on"
	}
	for _, member := range []int{first, second} {
		n.bridge.run("bridge", "link", "set", "dev", bridgePort(member), "isolated", isolated)
	}
}

// dial and listen make connections inside a member's namespace, which work while it is partitioned.
func (n *namespace) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.runInside(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

func (n *namespace) listen(network, address string) (listener net.Listener, err error) {
	err = n.runInside(func() (err error) {
		listener, err = net.Listen(network, address)
		return err
	})
	return listener, err
}
