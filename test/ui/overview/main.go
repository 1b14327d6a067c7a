// Command overview serves the page of all receivers for receivers of this machine, as kubectl mandrill ui does for those of a cluster.
//
//	overview NAME=HOST:PORT...
//
// HOST:PORT is where a receiver serves its page. A receiver with another word than an address cannot be reached, for that reason.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/cli/overview"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "overview:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var receivers []overview.Receiver
	for _, arg := range args {
		name, address, _ := strings.Cut(arg, "=")
		receiver := overview.Receiver{Name: name, Buffer: name, Problem: address}
		if _, _, err := net.SplitHostPort(address); err == nil {
			receiver.Problem = ""
			receiver.Client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, address)
			}}}
		}
		receivers = append(receivers, receiver)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	page := overview.New(overview.Options{
		Receivers: func() []overview.Receiver { return receivers }, Version: "v0.0.0-test", Logger: slog.New(slog.DiscardHandler),
	})
	server := &http.Server{Handler: page, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Printf("http://%s/\n", listener.Addr())
	_ = server.Serve(listener)
	return nil
}
