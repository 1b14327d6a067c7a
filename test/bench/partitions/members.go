package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/partition"
	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

const (
	bufferBytes  = 8 << 30
	startTimeout = 2 * time.Minute
	partitions   = "mandrill_receiver_buffer_partitions"
	pollInterval = 100 * time.Millisecond
)

// member is a receiver with a processor limit.
type member struct {
	program        *harness.Program
	group          *harness.CPUGroup
	address, admin string
}

// members are receivers that share a buffer.
type members struct {
	options options
	died    context.CancelCauseFunc
	nats    *natsProcess
	ledger  *ledger
	config  string
	running []*member
}

// writeRoutes writes routes of all webhooks. Those of suspended webhooks accept and deliver nothing.
func (m *members) writeRoutes(suspended bool) error {
	document := routes.Document{}
	for webhook := range m.options.webhooks {
		document.Routes = append(document.Routes, routes.Route{
			Name: webhookName(webhook), URL: hookURL(webhook), Keys: []string{signingKey}, Source: "/bench", Suspend: suspended,
			Sink: routes.Sink{URI: m.ledger.sinkURL(webhook)},
		})
	}
	data, err := document.Encode()
	if err != nil {
		return err
	}
	next := m.config + ".next" // renamed, so that no receiver reads a half of it
	return errors.Join(os.WriteFile(next, data, 0o600), os.Rename(next, m.config))
}

func webhookName(webhook int) string { return "shop/w" + strconv.Itoa(webhook) }

// start starts receivers and waits until their partitions are balanced.
func (m *members) start(ctx context.Context, count int) error {
	for range count {
		started, err := m.startOne(ctx)
		m.running = append(m.running, started)
		if err != nil {
			return err
		}
	}
	return m.awaitBalance(ctx)
}

func (m *members) startOne(ctx context.Context) (started *member, err error) {
	started = &member{}
	if started.group, err = harness.NewCPUGroup(m.options.cpu); err != nil {
		return started, err
	}
	for _, address := range []*string{&started.address, &started.admin} {
		if *address, err = loopback.Address(ctx); err != nil {
			return started, err
		}
	}
	arguments := append([]string{
		"--config", m.config, "--listen", started.address, "--metrics-listen", started.admin, "--shutdown-delay=0s", "--log-level=error",
		"--buffer", m.nats.url.String(), "--buffer-replicas=1", "--buffer-max-bytes", strconv.Itoa(bufferBytes),
		"--admin-socket", filepath.Join(filepath.Dir(m.config), filepath.Base(started.admin)+".sock"),
	}, strings.Fields(m.options.flags)...)
	started.program, err = harness.StartCommand(m.died, "receiver", started.group.Command(m.options.receiver, arguments...))
	return started, err
}

// awaitBalance waits until each receiver delivers its share: no two numbers of partitions differ by more than one.
func (m *members) awaitBalance(ctx context.Context) error {
	timeout := time.After(startTimeout)
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		shares, balanced := m.shares(ctx)
		if balanced {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timeout:
			return fmt.Errorf("the partitions of the receivers are %v after %s", shares, startTimeout)
		case <-ticker.C:
		}
	}
}

func (m *members) shares(ctx context.Context) (shares []int, balanced bool) {
	least, most, total := partition.Count, 0, 0
	for _, each := range m.running {
		current, err := harness.Scrape(ctx, each.admin)
		if err != nil || current.Sum("mandrill_receiver_buffer_available") != 1 || int(current.Sum("mandrill_receiver_routes")) != m.options.webhooks {
			return shares, false
		}
		share := int(current.Sum(partitions))
		shares, least, most, total = append(shares, share), min(least, share), max(most, share), total+share
	}
	return shares, least > 0 && most-least <= 1 && total == partition.Count
}

// cpu returns the processor time that all receivers have used.
func (m *members) cpu() (total time.Duration, err error) {
	for _, each := range m.running {
		used, cpuErr := each.program.CPU()
		total, err = total+used, errors.Join(err, cpuErr)
	}
	return total, err
}

func (m *members) addresses() (addresses []string) {
	for _, each := range m.running {
		addresses = append(addresses, each.address)
	}
	return addresses
}

// stop stops all receivers.
func (m *members) stop() error {
	var errs []error
	for _, each := range m.running {
		errs = append(errs, each.program.Stop(), each.group.Remove())
	}
	m.running = nil
	return errors.Join(errs...)
}
