package main

import (
	"bytes"
	"context"
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
	// creators create objects at the same time: more than the operator can keep up with.
	creators = 8
	// idleIntervals are the intervals for which nothing happens.
	idleIntervals = 4
)

// bench measures one thing after the other and keeps the results.
type bench struct {
	options
	*stack
	table   table
	created int
	faults  []error // what is not as it must be, though measuring can go on
}

func (b *bench) measure(ctx context.Context) error {
	for _, step := range []func(context.Context) error{b.create, b.restart, b.change, b.add, b.idle} {
		if err := step(ctx); err != nil {
			return err
		}
		b.check()
	}
	return nil
}

// check compares what Mandrill has with what there should be: one webhook, at a URL of its own, for each object.
func (b *bench) check() {
	count, urls := 0, map[string]bool{}
	for i := range b.accounts {
		for _, webhook := range b.emulator.Account(keyOf(i)).Webhooks() {
			count++
			urls[webhook.URL] = true
		}
	}
	if count != b.created || len(urls) != b.created {
		b.faults = append(b.faults, fmt.Errorf("Mandrill has %d webhooks at %d URLs for %d objects", count, len(urls), b.created)) //nolint:staticcheck // a name
	}
}

// unexpected takes note of calls other than lists when nothing has changed.
func (b *bench) wantOnlyLists(when string, made calls) {
	if others := made.except(callList); len(others) > 0 {
		b.faults = append(b.faults, fmt.Errorf("%s, the operator called %s", when, strings.Join(others, ", ")))
	}
}

// create creates the objects, phase after phase.
func (b *bench) create(ctx context.Context) error {
	if err := b.startReceiver(); err != nil {
		return err
	}
	if err := b.startOperator(); err != nil {
		return err
	}
	// With the workers' first idle moment the start is over and does not count.
	err := harness.AwaitMetrics(ctx, b.operatorMetrics, "the operator's start", b.deadline, func(m harness.Metrics) bool {
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
	b.table.add("Create: calls to Mandrill", "%s", b.calls.snapshot())
	return b.usage(ctx, "Create")
}

// createUpTo creates objects as fast as the API server takes them, and returns how long it took until all were Ready.
func (b *bench) createUpTo(ctx context.Context, count int) (time.Duration, error) {
	harness.Logf("creating objects, up to %d", count)
	started := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(creators + 1)
	group.Go(func() error { return b.watcher.awaitCount(ctx, count, b.deadline) })
	for ; b.created < count; b.created++ {
		object := b.object(b.created)
		group.Go(func() error {
			if err := b.admin.Create(ctx, object); err != nil {
				return fmt.Errorf("creating an object: %w", err)
			}
			return nil
		})
	}
	err := group.Wait()
	return time.Since(started), err
}

// object is the MandrillWebhook of a number; the accounts take turns.
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

// routes measures what the receiver reads. Each route has one source, by which it is counted however it is written.
func (b *bench) routes(ctx context.Context) error {
	var list corev1.SecretList
	if err := b.admin.List(ctx, &list, client.InNamespace(systemNamespace)); err != nil {
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

// usage reports what the programs have done and used since they were started.
func (b *bench) usage(ctx context.Context, step string) error {
	done, err := harness.Scrape(ctx, b.operatorMetrics)
	if err != nil {
		return err
	}
	requests := int(done.Sum("rest_client_requests_total"))
	b.table.add(step+": reconciles, and requests to the API server", "%d, %d", reconciled(done), requests)
	var cpu, memory []string
	for _, p := range []*harness.Program{b.operator, b.receiver} {
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

// restart starts both programs anew: the receiver, until it has all routes; then the operator, until it has looked at
// all objects again. All are Ready as they were, so that it is the metrics that tell.
func (b *bench) restart(ctx context.Context) error {
	harness.Logf("restarting")
	if err := b.operator.Stop(); err != nil {
		return err
	}
	if err := b.receiver.Stop(); err != nil {
		return err
	}
	started := time.Now()
	if err := b.startReceiver(); err != nil {
		return err
	}
	err := harness.AwaitMetrics(ctx, b.receiverMetrics, "the receiver having all routes", b.deadline, func(m harness.Metrics) bool {
		return int(m.Sum("mandrill_receiver_routes")) >= b.created
	})
	if err != nil {
		return err
	}
	b.table.add("Restart: the receiver has all routes", "%s", seconds(time.Since(started)))
	before := b.calls.snapshot()
	started = time.Now()
	if err := b.startOperatorAnew(ctx); err != nil {
		return err
	}
	b.table.add("Restart: the operator has reconciled all objects", "%s", seconds(time.Since(started)))
	made := b.calls.since(before)
	b.table.add("Restart: calls to Mandrill", "%s", made)
	b.wantOnlyLists("after a restart", made)
	return b.usage(ctx, "Restart")
}

// startOperatorAnew starts the operator and waits until it has reconciled all objects.
func (b *bench) startOperatorAnew(ctx context.Context, args ...string) error {
	if err := b.startOperator(args...); err != nil {
		return err
	}
	return harness.AwaitMetrics(ctx, b.operatorMetrics, "reconciling all objects", b.deadline, func(m harness.Metrics) bool {
		return reconciled(m) >= b.created && isIdle(m)
	})
}

// change changes some objects, which changes their webhooks at Mandrill.
func (b *bench) change(ctx context.Context) error {
	harness.Logf("changing %d objects", b.samples)
	var took []time.Duration
	for i := range b.samples {
		object := b.object(i * b.objects / b.samples) // from all over them
		patch := fmt.Appendf(nil, `{"spec":{"description":"Change %d"}}`, i)
		started := time.Now()
		if err := b.admin.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch)); err != nil {
			return fmt.Errorf("changing an object: %w", err)
		}
		if err := b.watcher.awaitObject(ctx, object, b.deadline); err != nil {
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
		if err := b.admin.Create(ctx, object); err != nil {
			return fmt.Errorf("adding an object: %w", err)
		}
		b.created++
		if err := b.watcher.awaitObject(ctx, object, b.deadline); err != nil {
			return err
		}
		took = append(took, time.Since(started))
	}
	b.table.add(fmt.Sprintf("One object added: Ready, %d times", b.samples), "%s", medianAndMax(took))
	return nil
}

// rest lets the operator rest, with a short interval so that there is something to see.
func (b *bench) idle(ctx context.Context) error {
	if err := b.operator.Stop(); err != nil {
		return err
	}
	before := b.calls.snapshot()
	if err := b.startOperatorAnew(ctx, "--resync-interval", b.resync.String()); err != nil {
		return err
	}
	window := idleIntervals * b.resync
	harness.Logf("letting the operator rest for %s", window)
	began, quiet := b.calls.snapshot(), time.Now()
	cpu, err := b.operator.CPU()
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(window): // what is measured, not waited for
	}
	used, err := b.operator.CPU()
	if err != nil {
		return err
	}
	elapsed, made := time.Since(quiet), b.calls.since(began)
	lists := make([]float64, b.accounts)
	for i := range lists {
		lists[i] = float64(made[call{keyOf(i), callList}]) / (elapsed.Seconds() / b.resync.Seconds())
	}
	mean := float64(made.byName()[callList]) / float64(b.accounts) / (elapsed.Seconds() / b.resync.Seconds())
	b.table.add(fmt.Sprintf("Rest: lists per account and interval of %s", b.resync), "mean %.2f, from %.2f to %.2f", mean, slices.Min(lists), slices.Max(lists))
	b.table.add(fmt.Sprintf("Rest: calls to Mandrill in %s", window), "%s", made)
	b.table.add(fmt.Sprintf("Rest: CPU of the operator in %s", window), "%.2f %% of one core", 100*(used-cpu).Seconds()/elapsed.Seconds())
	b.wantOnlyLists("at rest", b.calls.since(before))
	return nil
}
