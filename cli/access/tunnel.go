package access

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream" //nolint:staticcheck // client-go's dialers are of it
	"k8s.io/client-go/tools/portforward"
)

// Dial opens a connection to a port of a pod.
type Dial func(ctx context.Context) (net.Conn, error)

// Tunnel makes connections to a port of the loopback address of a receiver's pod for this process only, until ctx ends, which is no
// error. In contrast to Forward it listens nowhere. Ready is called once connections can be made.
func (c *Cluster) Tunnel(ctx context.Context, receiver Receiver, remote int, ready func(Dial)) error {
	if !receiver.Running {
		return receiver.errNotRunning()
	}
	err := c.Pods.Tunnel(ctx, receiver, remote, ready)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the person has ended it
	}
	return explainForward(err, receiver)
}

func (k *kubelets) Tunnel(ctx context.Context, receiver Receiver, remote int, ready func(Dial)) error {
	dialer, err := k.dialer(receiver)
	if err != nil {
		return err
	}
	connected := make(chan httpstream.Connection, 1)
	go func() {
		defer close(connected)
		conn, protocol, dialErr := dialer.Dial(portforward.PortForwardProtocolV1Name)
		switch {
		case dialErr != nil:
			err = dialErr
		case protocol != portforward.PortForwardProtocolV1Name:
			_ = conn.Close() // it is of no use
			err = fmt.Errorf("the API server forwards ports by the unknown protocol %q", protocol)
		default:
			connected <- conn
		}
	}()
	select {
	case <-ctx.Done(): // connecting is not bounded by the context
		go func() {
			if conn := <-connected; conn != nil {
				_ = conn.Close()
			}
		}()
		return nil
	case conn := <-connected:
		if conn == nil {
			return dialer.cause(err, 0)
		}
		defer conn.Close() //nolint:errcheck // it has ended
		ready((&tunnel{conn: conn, port: remote}).dial)
		select {
		case <-ctx.Done():
			return nil
		case <-conn.CloseChan():
			return ErrLost
		}
	}
}

// tunnel carries connections to a port of a pod: each is two streams, of which the first has the error of the kubelet.
type tunnel struct {
	conn     httpstream.Connection
	port     int
	requests atomic.Uint64
}

func (t *tunnel) dial(context.Context) (net.Conn, error) {
	headers := http.Header{}
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	headers.Set(corev1.PortHeader, strconv.Itoa(t.port))
	headers.Set(corev1.PortForwardRequestIDHeader, strconv.FormatUint(t.requests.Add(1), 10))
	failure, err := t.conn.CreateStream(headers)
	if err != nil {
		return nil, fmt.Errorf("opening a connection: %w", err)
	}
	_ = failure.Close() // nothing is written to it
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := t.conn.CreateStream(headers)
	if err != nil {
		t.conn.RemoveStreams(failure)
		return nil, fmt.Errorf("opening a connection: %w", err)
	}
	go func() {
		// After an error the kubelet may refuse all that follows: client-go gives the connection up, too.
		if message, err := io.ReadAll(io.LimitReader(failure, maxStderr)); err == nil && len(message) > 0 {
			_ = t.conn.Close()
		}
	}()
	return &tunnelConn{Stream: data, close: sync.OnceFunc(func() {
		_ = data.Reset() // also ends a Read
		t.conn.RemoveStreams(failure, data)
	})}, nil
}

// tunnelConn is a stream as a connection. It has no deadlines: who uses it closes it.
type tunnelConn struct {
	httpstream.Stream
	close func()
}

func (c *tunnelConn) Close() error {
	c.close()
	return nil
}

func (c *tunnelConn) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *tunnelConn) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *tunnelConn) SetDeadline(time.Time) error      { return nil }
func (c *tunnelConn) SetReadDeadline(time.Time) error  { return nil }
func (c *tunnelConn) SetWriteDeadline(time.Time) error { return nil }
