package main

import (
	"context"
	"errors"
	"flag"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/receiver/page"
	"github.com/mandrill-operator/mandrill-operator/receiver/recent"
)

// pageOptions are the flags of the page.
type pageOptions struct {
	listen, hosts string
	payloads      bool
}

func (o *pageOptions) add(flags *flag.FlagSet) {
	flags.StringVar(&o.listen, "page-listen", "",
		"address of the page that shows the flow, such as :8089; without a host only this machine can reach it; it has no login; default: off")
	flags.StringVar(&o.hosts, "page-hosts", "", "comma-separated hosts in URLs of the page, if a proxy is in front of it; localhost is always allowed")
	flags.BoolVar(&o.payloads, "page-payloads", false, "show CloudEvents on the page, and keep the last ones in memory, up to 16 MiB")
}

func (o *pageOptions) check() error {
	switch {
	case o.listen == "" && o.hosts != "":
		return errors.New("--page-hosts needs --page-listen")
	case o.listen == "" && o.payloads:
		return errors.New("--page-payloads needs --page-listen")
	case strings.ContainsAny(o.hosts, "/:@*"):
		return errors.New("--page-hosts must be hosts without scheme, port and path, such as mandrill.example.com")
	}
	return nil
}

func (o *pageOptions) hostList() []string {
	return strings.FieldsFunc(strings.ToLower(o.hosts), func(c rune) bool { return c == ',' || c == ' ' })
}

// pagePart returns a function that serves the page if there is --page-listen.
func (o *options) pagePart(ctx context.Context, stored *buffer, seen *recent.Ring, shown page.Options) (func(context.Context) error, error) {
	if o.page.listen == "" {
		return nothing, nil
	}
	shown.Recent, shown.Receiver, shown.Hosts, shown.Payloads = seen, o.name, o.page.hostList(), o.page.payloads
	if stored != nil {
		shown.Admin = adminHandler(stored.journal, seen, shown.Logger)
	}
	server, err := newServer(ctx, "--page-listen", localByDefault(o.page.listen), page.New(shown), shown.Logger)
	if err != nil {
		return nil, err
	}
	shown.Logger.Info("Serving the page", "url", "http://"+server.Listener.Addr().String()+"/")
	return server.Serve, nil
}

// nothing is a part that is switched off.
func nothing(context.Context) error { return nil }
