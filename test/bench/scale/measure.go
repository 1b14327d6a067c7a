package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

const (
	// creators is how many objects are created at the same time: faster than the operator reconciles them.
	creators = 8
	// idleIntervals is how many resync intervals the operator is measured while idle.
	idleIntervals = 4
)

// bench runs the measurements one after the other and collects their results.
type bench struct {
	options
	stack   *stack
	table   table
	created int
	faults  []error // failed checks that do not keep it from measuring
}

func (b *bench) measure(ctx context.Context) error {
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{{"create", b.create}, {"restart", b.restart}, {"change", b.change}, {"add", b.add}, {"idle", b.idle}, {"status", b.status}} {
		if b.only != "" && step.name != "create" && step.name != b.only {
			continue
		}
		if err := step.run(ctx); err != nil {
			return err
		}
		b.check()
	}
	return nil
}

// check checks that Mandrill has exactly one webhook, at its own URL, for each object.
func (b *bench) check() {
	count, urls := 0, map[string]bool{}
	for i := range b.accounts {
		for _, webhook := range b.stack.emulator.Account(keyOf(i)).Webhooks() {
			count++
			urls[webhook.URL] = true
		}
	}
	if count != b.created || len(urls) != b.created {
		b.faults = append(b.faults, fmt.Errorf("Mandrill has %d webhooks at %d URLs for %d objects", count, len(urls), b.created)) //nolint:staticcheck // a name
	}
}

// wantOnlyLists records calls other than lists, which must not happen while nothing changes.
func (b *bench) wantOnlyLists(when string, made calls) {
	if others := made.except(callList); len(others) > 0 {
		b.faults = append(b.faults, fmt.Errorf("%s, the operator called %s", when, strings.Join(others, ", ")))
	}
}

// create creates the objects, phase after phase.
func (b *bench) create(ctx context.Context) error {
	if err := b.stack.startReceiver(); err != nil {
		return err
	}
	if err := b.stack.startOperator(); err != nil {
		return err
	}
	// The operator's start does not count: wait until its workers are idle.
	err := harness.AwaitMetrics(ctx, b.stack.operatorMetrics, "the operator's start", b.deadline, func(m harness.Metrics) bool {
		return strings.Contains(string(m), "controller_runtime_active_workers") && isIdle(m)
	})
	if err != nil {
		return err
	}
	var all time.Duration
	for _, phase := range b.phases {
		first := b.created + 1
		took, err := b.createUpTo(ctx, phase)
		if err != nil {
			return err
		}
		all += took
		b.table.add(fmt.Sprintf("Create: objects %d to %d Ready", first, phase), "%s", rate(phase-first+1, took))
		if err := b.routes(ctx); err != nil {
			return err
		}
	}
	if len(b.phases) > 1 {
		b.table.add(fmt.Sprintf("Create: all %d objects Ready", b.objects), "%s", rate(b.objects, all))
	}
	b.table.add("Create: calls to Mandrill", "%s", b.stack.calls.snapshot())
	return b.usage(ctx, "Create")
}

// createUpTo creates objects as fast as the API server accepts them, and returns how long it took until all were Ready.
func (b *bench) createUpTo(ctx context.Context, count int) (time.Duration, error) {
	harness.Logf("creating objects, up to %d", count)
	started := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(creators + 1)
	group.Go(func() error { return b.stack.watcher.awaitCount(ctx, count, b.deadline) })
	for ; b.created < count; b.created++ {
		object := b.object(b.created)
		group.Go(func() error {
			if err := b.stack.admin.Create(ctx, object); err != nil {
				return fmt.Errorf("creating an object: %w", err)
			}
			return nil
		})
	}
	err := group.Wait()
	return time.Since(started), err
}

// object returns the MandrillWebhook with a number. Numbers are distributed over the accounts.
func (b *bench) object(number int) *v1alpha1.MandrillWebhook {
	return &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf(number % b.accounts), Name: fmt.Sprintf("webhook-%05d", number)},
		Spec: v1alpha1.MandrillWebhookSpec{
			Description:     fmt.Sprintf("Webhook %d", number),
			Events:          []v1alpha1.EventName{"send", "delivered", "hard_bounce", "open", "click"},
			APIKeySecretRef: v1alpha1.SecretKeyRef{Name: apiKeySecret},
			Sink:            v1alpha1.Destination{URI: "http://consumer.example.com"},
		},
	}
}

// routes measures the Secrets with routes. It counts routes by their source, of which each has one, to be independent of the format.
func (b *bench) routes(ctx context.Context) error {
	var list corev1.SecretList
	if err := b.stack.admin.List(ctx, &list, client.InNamespace(systemNamespace)); err != nil {
		return fmt.Errorf("listing the routes: %w", err)
	}
	secrets, routes, size := 0, 0, 0
	for _, secret := range list.Items {
		if !strings.HasPrefix(secret.Name, routesSecret) {
			continue
		}
		secrets++
		for _, data := range secret.Data {
			size += len(data)
			routes += bytes.Count(data, []byte("/apis/"+v1alpha1.GroupVersion.Group+"/namespaces/"))
		}
	}
	b.table.add(fmt.Sprintf("Create: Secrets with routes, at %d objects", b.created), "%d with %d routes, %d bytes, %d per route",
		secrets, routes, size, size/max(routes, 1))
	return nil
}

// usage reports reconciles, requests, CPU time and memory of the programs since their start.
func (b *bench) usage(ctx context.Context, step string) error {
	done, err := harness.Scrape(ctx, b.stack.operatorMetrics)
	if err != nil {
		return err
	}
	requests := int(done.Sum("rest_client_requests_total"))
	b.table.add(step+": reconciles, and requests to the API server", "%d, %d", reconciled(done), requests)
	var cpu, memory []string
	for _, p := range []*harness.Program{b.stack.operator, b.stack.receiver} {
		used, err := p.CPU()
		if err != nil {
			return err
		}
		peak, err := p.PeakMemory()
		if err != nil {
			return err
		}
		cpu = append(cpu, p.Name+" "+seconds(used))
		memory = append(memory, p.Name+" "+mebibytes(peak))
	}
	b.table.add(step+": CPU time", "%s", strings.Join(cpu, ", "))
	b.table.add(step+": peak memory", "%s", strings.Join(memory, ", "))
	return nil
}

// restart restarts the receiver, until it has all routes, and the operator, until it has reconciled all objects. The objects stay Ready,
// so progress is read from metrics.
func (b *bench) restart(ctx context.Context) error {
	harness.Logf("restarting")
	if err := b.stack.operator.Stop(); err != nil {
		return err
	}
	if err := b.stack.receiver.Stop(); err != nil {
		return err
	}
	started := time.Now()
	if err := b.stack.startReceiver(); err != nil {
		return err
	}
	err := harness.AwaitMetrics(ctx, b.stack.receiverMetrics, "the routes in the receiver", b.deadline, func(m harness.Metrics) bool {
		return int(m.Sum("mandrill_receiver_routes")) >= b.created
	})
	if err != nil {
		return err
	}
	b.table.add("Restart: the receiver has all routes", "%s", seconds(time.Since(started)))
	before := b.stack.calls.snapshot()
	started = time.Now()
	if err := b.startOperatorAndWait(ctx); err != nil {
		return err
	}
	b.table.add("Restart: the operator has reconciled all objects", "%s", seconds(time.Since(started)))
	made := b.stack.calls.since(before)
	b.table.add("Restart: calls to Mandrill", "%s", made)
	b.wantOnlyLists("after a restart", made)
	return b.usage(ctx, "Restart")
}

// startOperatorAndWait starts the operator and waits until it has reconciled all objects.
func (b *bench) startOperatorAndWait(ctx context.Context, args ...string) error {
	if err := b.stack.startOperator(args...); err != nil {
		return err
	}
	return harness.AwaitMetrics(ctx, b.stack.operatorMetrics, "reconciling all objects", b.deadline, func(m harness.Metrics) bool {
		return reconciled(m) >= b.created && isIdle(m)
	})
}

// change changes some objects, which changes their webhooks at Mandrill.
func (b *bench) change(ctx context.Context) error {
	harness.Logf("changing %d objects", b.samples)
	var took []time.Duration
	for i := range b.samples {
		object := b.object(i * b.objects / b.samples) // spread over all of them
		patch := fmt.Appendf(nil, `{"spec":{"description":"Change %d"}}`, i)
		started := time.Now()
		if err := b.stack.admin.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch)); err != nil {
			return fmt.Errorf("changing an object: %w", err)
		}
		if err := b.stack.watcher.awaitObject(ctx, object, b.deadline); err != nil {
			return err
		}
		took = append(took, time.Since(started))
	}
	b.table.add(fmt.Sprintf("One object changed: Ready, %d times", b.samples), "%s", medianAndMax(took))
	return nil
}

// add adds some objects.
func (b *bench) add(ctx context.Context) error {
	harness.Logf("adding %d objects", b.samples)
	var took []time.Duration
	for range b.samples {
		object := b.object(b.created)
		started := time.Now()
		if err := b.stack.admin.Create(ctx, object); err != nil {
			return fmt.Errorf("adding an object: %w", err)
		}
		b.created++
		if err := b.stack.watcher.awaitObject(ctx, object, b.deadline); err != nil {
			return err
		}
		took = append(took, time.Since(started))
	}
	b.table.add(fmt.Sprintf("One object added: Ready, %d times", b.samples), "%s", medianAndMax(took))
	return nil
}

// idle measures the operator while nothing happens, with a short resync interval.
func (b *bench) idle(ctx context.Context) error {
	if err := b.stack.operator.Stop(); err != nil {
		return err
	}
	before := b.stack.calls.snapshot()
	if err := b.startOperatorAndWait(ctx, "--resync-interval", b.resync.String()); err != nil {
		return err
	}
	window := idleIntervals * b.resync
	harness.Logf("measuring the idle operator for %s", window)
	began, quiet := b.stack.calls.snapshot(), time.Now()
	cpu, err := b.stack.operator.CPU()
	asked, scrapeErr := harness.Scrape(ctx, b.stack.operatorMetrics)
	if err := errors.Join(err, scrapeErr); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(window): // the measured time, not a wait for a condition
	}
	used, err := b.stack.operator.CPU()
	askedNow, scrapeErr := harness.Scrape(ctx, b.stack.operatorMetrics)
	if err := errors.Join(err, scrapeErr); err != nil {
		return err
	}
	elapsed, made := time.Since(quiet), b.stack.calls.since(began)
	lists := make([]float64, b.accounts)
	for i := range lists {
		lists[i] = float64(made[call{keyOf(i), callList}]) / (elapsed.Seconds() / b.resync.Seconds())
	}
	mean := float64(made.byName()[callList]) / float64(b.accounts) / (elapsed.Seconds() / b.resync.Seconds())
	b.table.add(fmt.Sprintf("Idle: lists per account and interval of %s", b.resync), "mean %.2f, from %.2f to %.2f", mean, slices.Min(lists), slices.Max(lists))
	b.table.add(fmt.Sprintf("Idle: calls to Mandrill in %s", window), "%s", made)
	b.table.add(fmt.Sprintf("Idle: requests to the API server in %s", window), "%.0f", askedNow.Sum("rest_client_requests_total")-asked.Sum("rest_client_requests_total"))
	b.table.add(fmt.Sprintf("Idle: CPU of the operator in %s", window), "%.2f %% of one core", 100*(used-cpu).Seconds()/elapsed.Seconds())
	b.wantOnlyLists("while idle", b.stack.calls.since(before))
	return nil
}
