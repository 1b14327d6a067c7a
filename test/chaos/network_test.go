package chaos_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"
)

// network joins the members of a cluster by a bridge, each in a namespace of its own. The bridge is in another one, so that
// nothing of the machine's own network changes.
type network struct {
	bridge  *namespace
	members []*namespace
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	const unknown = "NETWORKS THAT ARE CUT"
	n := &network{bridge: newNamespace(t, "-n", unknown, nil, "ip link add bridge type bridge; ip link set bridge up; bridge link show")}
	for i := range memberCount {
		member := newNamespace(t, "-n", unknown, nil, "ip link set lo up")
		n.members = append(n.members, member)
		n.bridge.run("ip", "link", "add", bridgePort(i), "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(member.pid))
		n.bridge.run("ip", "link", "set", bridgePort(i), "master", "bridge", "up")
		member.run("ip", "link", "set", "eth0", "address", macAddress(i), "up")
		member.run("ip", "address", "add", n.host(i)+"/24", "dev", "eth0")
		for k := range memberCount {
			if k != i { // who asks for these addresses would be told that a host is gone
				member.run("ip", "neighbor", "add", n.host(k), "lladdr", macAddress(k), "dev", "eth0", "nud", "permanent")
			}
		}
	}
	return n
}

func bridgePort(member int) string              { return fmt.Sprintf("port%d", member) }
func macAddress(member int) string          { return fmt.Sprintf("02:00:00:00:00:%02x", member+1) }
func (n *network) host(member int) string { return fmt.Sprintf("10.0.0.%d", member+1) }

// cut takes a member away from the others, or gives it back. Its link stays up: what is sent is dropped by the bridge, and
// nobody is told.
func (n *network) setPartitioned(member int, cut bool) {
	n.bridge.t.Helper()
	state := "3" // forwarding
	if cut {
		state = "0" // disabled
	}
	n.bridge.run("bridge", "link", "set", "dev", bridgePort(member), "state", state)
}

// part keeps two members apart, or does not any more. The third sees both.
func (n *network) setSeparated(one, other int, apart bool) {
	n.bridge.t.Helper()
	isolated := "off"
	if apart {
		isolated = "on"
	}
	for _, member := range []int{one, other} {
		n.bridge.run("bridge", "link", "set", "dev", bridgePort(member), "isolated", isolated)
	}
}

// dial and listen are for what is to be seen by one member alone, also when it is cut off from the others.
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
