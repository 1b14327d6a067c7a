package chaos_test

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	product "github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// memberVariable has this program be a receiver of a cluster instead of a test.
const memberVariable = "CHAOS_MEMBER"

// member is such a receiver.
type member struct {
	listen, health, config, dir string
	name, clusterListen, peers  string
}

func parseMember(args []string) (*member, error) {
	m := &member{}
	flags := flag.NewFlagSet("member", flag.ContinueOnError)
	for name, value := range map[string]*string{
		"listen": &m.listen, "metrics-listen": &m.health, "config": &m.config, "buffer-dir": &m.dir,
		"name": &m.name, "cluster-listen": &m.clusterListen, "peers": &m.peers,
	} {
		flags.StringVar(value, name, "", "")
	}
	flags.String("buffer", "", "")
	return m, flags.Parse(args)
}

// run works until it is told to end, in the order of the real one: the webhooks end first, and the buffer last.
func (m *member) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	logger := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	limits, err := journal.Divide(512<<20, 0)
	if err != nil {
		return err
	}
	engine := &journal.Cluster{
		Dir: m.dir, Limits: limits, Name: m.name, Listen: m.clusterListen, Peers: strings.Split(m.peers, ","), Password: "password", Logger: logger,
	}
	defer engine.Close()
	registry := prometheus.NewRegistry()
	metrics := product.NewMetrics(registry)
	loaded := &product.Routes{Logger: logger, Metrics: metrics}
	sender := sink.NewSender(sink.Options{Poster: &sink.Client{Tokens: &sink.Tokens{}}, Metrics: metrics.Sinks})
	kept := journal.New(journal.Options{Engine: engine, Limits: limits, Replicas: journal.ClusterMembers, Logger: logger, Metrics: journal.NewMetrics(registry)})
	dispatcher := product.NewDispatcher(product.DispatcherOptions{Routes: loaded, Sender: sender, Metrics: metrics, Logger: logger})
	registry.MustRegister(dispatcher)
	handler := product.NewHandler(product.Options{Routes: loaded, Sender: sender, Metrics: metrics, Logger: logger, Buffer: kept})
	ready := func(asked context.Context) bool { return ctx.Err() == nil && loaded.Ready() && kept.Available(asked) }
	admin := product.AdminHandler(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), ready)

	life, end := context.WithCancel(context.Background())
	keeping, stopKeeping := context.WithCancel(context.Background())
	var group errgroup.Group
	group.Go(func() error { defer end(); return serve(ctx, m.listen, handler, logger) })
	group.Go(func() error { return serve(life, m.health, admin, logger) })
	group.Go(func() error { return loaded.WatchFile(life, m.config) })
	group.Go(func() error { return kept.Run(keeping) })
	group.Go(func() error {
		defer stopKeeping()
		return kept.Work(life, func(ctx context.Context, work *journal.Work) error { return dispatcher.Run(ctx, work) })
	})
	return group.Wait()
}

func serve(ctx context.Context, address string, handler http.Handler, logger *slog.Logger) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return (&product.Server{Listener: listener, Handler: handler, Logger: logger}).Serve(ctx)
}

// beMember runs instead of the tests.
func beMember() int {
	m, err := parseMember(os.Args[1:])
	if err := errors.Join(err, m.run()); err != nil {
		slog.New(slog.NewJSONHandler(os.Stderr, nil)).Error("Ended", "error", err.Error())
		return 1
	}
	return 0
}
