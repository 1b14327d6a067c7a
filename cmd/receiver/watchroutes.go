package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mandrill-operator/mandrill-operator/receiver/keptroutes"
	"github.com/mandrill-operator/mandrill-operator/receiver/kube"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// watchRoutes keeps the table up to date with the file, the environment or the Secrets.
func watchRoutes(ctx context.Context, o options, table *routing.Routes, logger *slog.Logger) error {
	if o.config != "" {
		return table.WatchFile(ctx, o.config)
	}
	if o.environment != nil {
		if _, err := o.environment.read(); err == nil && !o.environment.hadKeys {
			logger.Warn("Found no signing key, batches are answered with 503 until there is one", "variable", variableKey)
		}
		return table.Watch(ctx, routing.Document{Name: environmentName, Files: o.environment.files(), Read: o.environment.read})
	}
	return watchSecrets(ctx, o, table, logger)
}

// watchSecrets keeps the table up to date with the Secrets. A receiver with a volume keeps their documents there, for a start
// while the API server is away. With --drain it does not: that is for volumes whose routes may be old.
func watchSecrets(ctx context.Context, o options, table *routing.Routes, logger *slog.Logger) error {
	namespace, name, err := kube.ParseName(o.routesSecret)
	if err != nil {
		return fmt.Errorf("--routes-secret: %w", err)
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules() // without any file: the pod's service account
	rules.ExplicitPath = o.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return fmt.Errorf("finding the API server: %w", err)
	}
	secrets, err := kube.NewSecrets(config, namespace)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(missingRoutesInterval)
	defer ticker.Stop()
	go reportMissingRoutes(ctx, table.Ready, ticker.C, logger)
	if o.buffer.dir == "" || o.drain {
		return kube.WatchSecrets(ctx, secrets, name, table, logger)
	}
	keeper := keptroutes.New(filepath.Join(o.buffer.dir, keptroutes.FileName), o.routesSecret, table, logger)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return keeper.Run(ctx) })
	group.Go(func() error { return kube.WatchSecrets(ctx, secrets, name, keeper, logger) })
	return group.Wait()
}

// missingRoutesInterval is how long the first routes may take. The log leaves out most of what repeats.
const missingRoutesInterval = 30 * time.Second

// reportMissingRoutes warns until there are routes: the watch is silent while the API server refuses connections, or while there
// is no Secret.
func reportMissingRoutes(ctx context.Context, ready func() bool, tick <-chan time.Time, logger *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		if ready() {
			return
		}
		logger.Warn("Found no routes yet; check that the API server is reachable, that the Secret of --routes-secret exists, and that it may be watched")
	}
}
