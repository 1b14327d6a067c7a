package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cmd/usage"
	"github.com/mandrill-operator/mandrill-operator/controllers/scope"
	"github.com/mandrill-operator/mandrill-operator/controllers/uninstall"
)

// runUninstall is "operator uninstall": it deletes all MandrillWebhooks while the operator runs elsewhere.
func runUninstall(ctx context.Context, args []string, output io.Writer) error {
	options := uninstall.Options{Finalizer: scope.Scope{}.Finalizer(), Output: output}
	var kubeconfig, namespaces string
	flags := flag.NewFlagSet("operator uninstall", flag.ContinueOnError)
	flags.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig file; default: $KUBECONFIG, or the pod's own account")
	flags.StringVar(&namespaces, "namespaces", "", "comma-separated namespaces whose MandrillWebhooks to delete; default: all")
	flags.DurationVar(&options.Timeout, "timeout", 5*time.Minute, "how long to wait until the operator has finalized them")
	flags.BoolVar(&options.KeepWebhooks, "keep-webhooks", false, "leave the webhooks at Mandrill, by setting deletionPolicy to Retain first")
	flags.BoolVar(&options.Abandon, "abandon", false, "after the time-out remove the finalizers, and print which webhooks are left at Mandrill")
	usage.Help(flags, "operator uninstall deletes all MandrillWebhooks while the operator runs elsewhere.", nil)
	if err := usage.Parse(flags, args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if options.Timeout < 0 {
		return errors.New("--timeout must not be negative")
	}
	options.Namespaces = list(namespaces)
	config, err := clusterConfig(kubeconfig)
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("building the scheme: %w", err)
	}
	if options.Client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("connecting to the API server: %w", err)
	}
	return uninstall.Run(ctx, options)
}
