package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/httpstream" //nolint:staticcheck // client-go's dialers are of it
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// ErrLost means that a connection that was forwarded has ended: the pod has, or something on the way.
var ErrLost = errors.New("the connection was lost")

// PortError means that the port of this machine cannot be listened at.
type PortError struct{ Port int }

func (e *PortError) Error() string {
	return fmt.Sprintf("port %d of this machine is taken: name another by --port", e.Port)
}

// PagePort returns the port at which a receiver serves its page, or 0 if it serves none. A page at an address of the pod's network
// is out of reach of a forwarded port, which leads to the pod's loopback address.
func (r Receiver) PagePort() (int, error) {
	listen := r.flag("page-listen")
	if listen == "" {
		return 0, nil
	}
	host, text, err := net.SplitHostPort(listen)
	port, portErr := strconv.Atoi(text)
	if err != nil || portErr != nil {
		return 0, fmt.Errorf("the --page-listen of %s cannot be read: %s", r, listen)
	}
	address, err := netip.ParseAddr(host)
	if host != "" && host != "localhost" && (err != nil || !address.IsLoopback() && !address.IsUnspecified()) {
		return 0, fmt.Errorf("the page of %s is at %s, which a forwarded port does not reach: open it there, or set --page-listen to a loopback address", r, listen)
	}
	return port, nil
}

// Forward forwards a port of this machine's loopback address to a port of a receiver's pod, until ctx ends, which is no error. Ready
// is called with the port that is listened at; local 0 picks a free one.
func (c *Cluster) Forward(ctx context.Context, receiver Receiver, local, remote int, ready func(port int)) error {
	if !receiver.Running {
		return receiver.errNotRunning()
	}
	err := c.Pods.Forward(ctx, receiver, local, remote, ready)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the person has ended it
	}
	return explainForward(err, receiver)
}

// explainForward returns a sentence for the error of a forwarded port.
func explainForward(err error, receiver Receiver) error {
	port := new(PortError)
	switch {
	case err == nil, errors.Is(err, ErrLost), errors.As(err, &port):
		return err
	case apierrors.IsForbidden(err):
		return &ForbiddenError{"create pods/portforward in namespace " + receiver.Namespace + ", by which the page is reached"}
	case apierrors.IsNotFound(err):
		return fmt.Errorf("the pod %s is gone: run the command again", receiver)
	}
	return fmt.Errorf("forwarding a port to %s: %w", receiver, err)
}

func (k *kubelets) Forward(ctx context.Context, receiver Receiver, local, remote int, ready func(port int)) error {
	dialer, err := k.dialer(receiver)
	if err != nil {
		return err
	}
	begun, ports := make(chan struct{}), []string{fmt.Sprintf("%d:%d", local, remote)}
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, ports, ctx.Done(), begun, io.Discard, io.Discard)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case err := <-ended:
		return dialer.cause(err, local)
	case <-ctx.Done(): // connecting is not bounded by the context
		return nil
	case <-begun:
	}
	forwarded, err := forwarder.GetPorts()
	if err != nil {
		return err
	}
	ready(int(forwarded[0].Local))
	return dialer.cause(<-ended, local)
}

// dialer connects to the pod. It keeps the error of the API server, which the forwarder makes a text of.
type dialer struct {
	httpstream.Dialer
	err error
}

func (k *kubelets) dialer(receiver Receiver) (*dialer, error) {
	clientset, err := kubernetes.NewForConfig(k.config)
	if err != nil {
		return nil, err
	}
	target := clientset.CoreV1().RESTClient().Post().Resource("pods").Namespace(receiver.Namespace).Name(receiver.Pod).SubResource("portforward").URL()
	socket, err := portforward.NewSPDYOverWebsocketDialer(target, k.config)
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdyTransport(k.config)
	if err != nil {
		return nil, err
	}
	fallback := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, target)
	return &dialer{Dialer: portforward.NewFallbackDialer(socket, fallback, passesNoWebSockets)}, nil
}

// Dial connects.
func (d *dialer) Dial(protocols ...string) (httpstream.Connection, string, error) {
	conn, protocol, err := d.Dialer.Dial(protocols...)
	d.err = err
	return conn, protocol, err
}

// cause returns why forwarding has ended.
func (d *dialer) cause(err error, local int) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, portforward.ErrLostConnectionToPod):
		return ErrLost
	case strings.Contains(err.Error(), "unable to listen"):
		return &PortError{local}
	}
	return cmp.Or(d.err, err)
}
