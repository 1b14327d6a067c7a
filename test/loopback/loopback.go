// Package loopback finds addresses for programs that listen later, or that stop and listen again, and has a client for them.
//
// The port that the system chooses for ":0" does not serve for this: it is free again once its listener is closed, and the system may give
// it to any other program before ours listens. A port of this package is one that the system gives to nobody, and that no other process
// which asks this package gets.
package loopback

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"sync"
)

// Host is the host of all addresses.
const Host = "127.0.0.1"

// Ports from firstPort on are below those that Linux (32768 on), BSD and macOS (49152 on) give to connections and to listeners of ":0".
const (
	firstPort = 10000
	portCount = 20000
)

var errNoPort = errors.New("no free port on loopback from 10000 to 29999: end the programs that listen there")

var (
	mu sync.Mutex
	// claims are UDP sockets that stay bound until the process ends. Nobody sends to them: they keep other processes from the same port.
	claims []net.PacketConn
)

// Address returns an address on loopback that nobody listens at. It belongs to the calling process until that ends.
func Address(ctx context.Context) (string, error) {
	port, err := Port(ctx)
	return net.JoinHostPort(Host, strconv.Itoa(port)), err
}

// Port returns the port of an [Address].
func Port(ctx context.Context) (int, error) {
	mu.Lock()
	defer mu.Unlock()
	start := os.Getpid() * 31 // processes begin at different ports
	for i := range portCount {
		port := firstPort + (start+i)%portCount
		if claim(ctx, port) {
			return port, nil
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
	}
	return 0, errNoPort
}

// claim takes a port, unless another process has claimed it or listens at it, on loopback or on all addresses.
func claim(ctx context.Context, port int) bool {
	var config net.ListenConfig
	address := net.JoinHostPort(Host, strconv.Itoa(port))
	claimed, err := config.ListenPacket(ctx, "udp", address)
	if err != nil {
		return false
	}
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		_ = claimed.Close()
		return false
	}
	_ = listener.Close()
	claims = append(claims, claimed)
	return true
}
