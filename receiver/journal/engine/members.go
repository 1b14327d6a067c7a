package engine

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Members returns the host:port addresses of all members. peers has all of them, separated by commas, or NAME:PORT of the
// headless Service of a StatefulSet, one of whose pods has this hostname.
func Members(peers, hostname string) ([]string, error) {
	list := strings.Split(peers, ",")
	for i, peer := range list {
		list[i] = strings.ToLower(strings.TrimSpace(peer))
		if host, _, err := splitAddress(list[i]); err != nil || host == "" {
			return nil, errors.New("a member must be of the form host:port")
		}
	}
	if len(list) == 1 {
		var err error
		if list, err = podAddresses(list[0], hostname); err != nil {
			return nil, err
		}
	}
	if distinct := slices.Compact(slices.Sorted(slices.Values(list))); len(list) != ClusterMembers || len(distinct) != ClusterMembers {
		return nil, fmt.Errorf("there must be %d members, this one included", ClusterMembers)
	}
	return list, nil
}

// podAddresses returns the addresses of the pods of a StatefulSet behind a headless service, given the hostname of one.
func podAddresses(service, hostname string) (list []string, err error) {
	pod, _, _ := strings.Cut(hostname, ".")
	dash := strings.LastIndexByte(pod, '-')
	ordinal, err := strconv.ParseUint(pod[dash+1:], 10, 8)
	if dash < 1 || err != nil || ordinal >= ClusterMembers {
		return nil, errors.New("one name stands for the three pods of a StatefulSet, and the name of this host does not end in -0, -1 or -2; give the three members")
	}
	for i := range ClusterMembers {
		list = append(list, pod[:dash+1]+strconv.Itoa(i)+"."+service)
	}
	return list, nil
}

// Loopback reports whether all addresses are loopback addresses.
func Loopback(addresses []string) bool {
	return !slices.ContainsFunc(addresses, func(address string) bool {
		host, _, _ := splitAddress(address)
		return host != "localhost" && !net.ParseIP(host).IsLoopback()
	})
}

// Port returns the port of an address.
func Port(address string) (int, error) {
	_, port, err := splitAddress(address)
	return port, err
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, errors.New("an address must be of the form host:port")
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil || number == 0 {
		return "", 0, errors.New("a port must be a number from 1 to 65535")
	}
	return host, int(number), nil
}

// anyHost is the wildcard address of this machine: that of IPv6, which includes IPv4, if the machine has IPv6.
func anyHost() string {
	listener, err := net.Listen("tcp6", "[::]:0") //nolint:noctx // a local call that does not block
	if err != nil {
		return "0.0.0.0"
	}
	_ = listener.Close()
	return "::"
}
