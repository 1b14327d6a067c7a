// Package ui shows the page of all receivers, or forwards that of one, on the machine of the person who looks.
package ui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
)

const long = `ui shows the page of the receivers, prints its address, and opens it in the browser: the flow from Mandrill to the sinks, the last
events, the backlog and the dead letters of all receivers of the installation. A receiver that cannot be asked is named. Ctrl-C ends it.

Receivers serve the page if the value receiver.page.enabled of the chart is true, or with --page-listen. With --pod, ui
forwards a port of this machine to the page of one receiver, which shows what that one has seen.

The page is only reached from this machine: that of all receivers with the key in the address, that of --pod by everybody on
the machine. It needs the rights to list pods, and to create pods/portforward where receivers run. Who has these sees recipients,
and can redrive and purge dead letters.`

// errNoPage says how to switch the page on.
var errNoPage = errors.New("no receiver serves the page: set receiver.page.enabled=true in the values of the chart, or run the receivers " +
	"with --page-listen=127.0.0.1:8089")

// A connection is lost when a pod restarts, and when proxies end it after some hours: it is made again.
const (
	retryPause = time.Second
	maxRetries = 60 // in a row
)

// pages are the pages that are forwarded.
type pages struct {
	env     *access.Env
	cluster *access.Cluster
	browser bool
	pause   time.Duration // before a connection is made again

	findPause time.Duration

	mu sync.Mutex // guards the output
}

// New returns the command ui.
func New(env *access.Env) *cobra.Command {
	var pod string
	port, noBrowser := 0, false
	command := &cobra.Command{
		Use: "ui", Short: "Open the page of the receivers", Long: long, Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if port < 0 || port > 65535 {
				return errors.New("--port must be a number from 0 to 65535")
			}
			p := &pages{env: env, browser: !noBrowser && env.Browser != nil && output.Interactive(env.Out), pause: retryPause, findPause: findPause}
			return p.run(command.Context(), pod, port)
		},
	}
	command.Flags().IntVar(&port, "port", 0, "port of this machine; default: a free one")
	command.Flags().StringVar(&pod, "pod", "", "only the page of the receiver in this pod")
	command.Flags().BoolVar(&noBrowser, "no-browser", false, "only print the address")
	return command
}

func (p *pages) run(ctx context.Context, pod string, port int) error {
	cluster, err := p.env.Connect(&p.env.Flags)
	if err != nil {
		return err
	}
	p.cluster = cluster
	receivers, err := cluster.Receivers(ctx, &p.env.Flags, cluster.Namespace)
	if err != nil {
		return err
	}
	serving, err := withPage(receivers, pod)
	if err != nil {
		return err
	}
	if pod != "" {
		return p.keep(ctx, serving[0], port)
	}
	return p.all(ctx, receivers, port)
}

// withPage returns the receivers that serve a page, or those of a pod.
func withPage(receivers []access.Receiver, pod string) ([]access.Receiver, error) {
	var found []access.Receiver
	var names []string
	var errs []error
	for _, receiver := range receivers {
		names = append(names, receiver.Pod)
		if pod != "" && receiver.Pod != pod {
			continue
		}
		switch port, err := receiver.PagePort(); {
		case err != nil:
			errs = append(errs, err)
		case port != 0:
			found = append(found, receiver)
		case pod != "":
			return nil, fmt.Errorf("the receiver %s serves no page: %w", receiver, errNoPage)
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case len(errs) > 0:
		return nil, errors.Join(errs...)
	case pod != "" && !slices.Contains(names, pod):
		return nil, fmt.Errorf("there is no receiver in a pod %s: there are %s", pod, strings.Join(names, ", "))
	}
	return nil, errNoPage
}

// keep forwards the page of a receiver until ctx ends, with the same port after the connection was lost.
func (p *pages) keep(ctx context.Context, receiver access.Receiver, local int) error {
	remote, err := receiver.PagePort()
	if err != nil {
		return err
	}
	known := false
	for lost := 0; ; lost++ {
		err := p.cluster.Forward(ctx, receiver, local, remote, func(port int) {
			if !known {
				p.show(ctx, fmt.Sprintf("http://127.0.0.1:%d/", port), receiver.String())
			} else {
				p.say(p.env.Err, "%s can be reached again\n", receiver)
			}
			local, known, lost = port, true, 0
		})
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the person has ended it
		case !known || lost >= maxRetries || errors.As(err, new(*access.PortError)):
			return err
		case lost == 0:
			p.say(p.env.Err, "%s: the connection was lost: trying again\n", receiver)
		}
		select {
		case <-time.After(p.pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// show names the address of a page, and opens it.
func (p *pages) show(ctx context.Context, url, receivers string) {
	p.say(p.env.Out, "%s  %s\n", url, receivers)
	if !p.browser {
		return
	}
	if err := p.env.Browser(ctx, url); err != nil {
		p.say(p.env.Err, "no browser was opened (%v): open the address yourself\n", err)
	}
}

// say prints a line; receivers come at the same time.
func (p *pages) say(w io.Writer, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(w, format, args...) // the forwarding goes on without it
}
