// Package crd waits until the API server serves MandrillWebhooks, so that the operator and its CustomResourceDefinition can be
// installed in any order.
package crd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

const (
	kind = "MandrillWebhook"

	defaultInterval = 2 * time.Second
	defaultReminder = time.Minute
	headerTimeout   = 10 * time.Second
)

// ErrMissing means that the API server does not serve MandrillWebhooks.
var ErrMissing = errors.New("the CustomResourceDefinition mandrillwebhooks.mandrill-operator.io is not installed, or is not of this version: " +
	"install the one of this release")

// Discovery is what [Served] needs of client-go's discovery client.
type Discovery interface {
	ServerResourcesForGroupVersionWithContext(ctx context.Context, groupVersion string) (*metav1.APIResourceList, error)
}

// Served returns nil if the API server serves MandrillWebhooks, [ErrMissing] if it does not, and another error if it does not
// answer.
func Served(ctx context.Context, client Discovery) error {
	list, err := client.ServerResourcesForGroupVersionWithContext(ctx, v1alpha1.GroupVersion.String())
	switch {
	case apierrors.IsNotFound(err):
		return ErrMissing
	case err != nil:
		return fmt.Errorf("asking the API server for MandrillWebhooks: %w", err)
	case !slices.ContainsFunc(list.APIResources, func(resource metav1.APIResource) bool { return resource.Kind == kind }):
		return ErrMissing
	}
	return nil
}

// Options configures [Wait]. Served and Logger are required.
type Options struct {
	Served func(context.Context) error
	Logger logr.Logger
	// HealthListen is the address of /healthz, which says yes, and /readyz, which says what is missing. "0" and "" mean none.
	HealthListen string
	Interval     time.Duration // between two questions; default 2 s
	Reminder     time.Duration // between two log lines that say the same; default 1 minute
}

// Wait returns once MandrillWebhooks are served, or when the context ends. It logs what it waits for.
func Wait(ctx context.Context, o Options) error {
	if o.Interval == 0 {
		o.Interval = defaultInterval
	}
	if o.Reminder == 0 {
		o.Reminder = defaultReminder
	}
	missing := o.Served(ctx)
	if missing == nil || ctx.Err() != nil {
		return nil
	}
	var current atomic.Value
	current.Store(missing.Error())
	stop, err := serveHealth(ctx, o.HealthListen, &current)
	if err != nil {
		return err
	}
	defer stop()
	var said string
	var last time.Time
	for ; missing != nil; missing = o.Served(ctx) {
		if ctx.Err() != nil {
			return nil
		}
		text := missing.Error()
		current.Store(text)
		if now := time.Now(); text != said || now.Sub(last) >= o.Reminder {
			o.Logger.Info("Waiting for the CustomResourceDefinition", "cause", text)
			said, last = text, now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(o.Interval):
		}
	}
	o.Logger.Info("Found the CustomResourceDefinition")
	return nil
}

// serveHealth answers probes until stop is called: the process is alive and not ready. The manager listens at the same address
// afterwards.
func serveHealth(ctx context.Context, address string, cause *atomic.Value) (stop func(), err error) {
	if address == "" || address == "0" {
		return func() {}, nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for health checks: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, fmt.Sprint(cause.Load()), http.StatusServiceUnavailable)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // until it is closed
	}()
	return func() {
		_ = server.Close()
		<-ended
	}, nil
}
