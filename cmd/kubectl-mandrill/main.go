// Kubectl-mandrill is a plugin of kubectl: kubectl mandrill shows and repairs the flow of Mandrill's events.
package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/cli"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/ui"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := cli.Main(ctx, &access.Env{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Now: time.Now, Connect: access.Connect,
		Client: &http.Client{Transport: routes.Bounded(http.DefaultTransport)}, Resolver: net.DefaultResolver, Browser: ui.Browse,
	}, os.Args[1:])
	stop()
	os.Exit(status)
}
