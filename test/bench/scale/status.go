package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

const (
	// stillness is after how long without a write all statuses are written: the operator looks at all objects every 5 seconds.
	stillness = 20 * time.Second
	// restWindow is how long objects at rest are watched.
	restWindow = time.Minute
)

// shared is a receiver that reports on all objects, whose sinks are the same: either they accept events or they fail.
type shared struct {
	bench    *bench
	url      string
	token    string
	sequence uint64
	received time.Time // the last events
	failing  time.Time // zero: the sink accepts events
}

// status measures how often the status is written for what receivers report: when it is new, at rest, and when a sink that all objects
// share fails and recovers. The receiver that reports is the benchmark.
func (b *bench) status(ctx context.Context) error {
	r, err := b.startReporting(ctx)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		name   string
		change func()
	}{
		{"receivers first report", func() {}},
		{"the sink of all objects fails", func() { r.failing = time.Now() }},
		{"it accepts events again", func() { r.failing, r.received = time.Time{}, time.Now() }},
	} {
		step.change()
		before, err := b.used()
		if err != nil {
			return err
		}
		writes, took, err := r.untilStill(ctx, b.created)
		if err != nil {
			return err
		}
		b.table.add("Status: writes when "+step.name, "%d in %s", writes, seconds(took))
		after, err := b.used()
		if err != nil {
			return err
		}
		b.table.add("Status: CPU time when "+step.name, "%s", after.since(before, writes))
		if writes != b.created {
			b.faults = append(b.faults, fmt.Errorf("when %s, %d statuses were written, want %d", step.name, writes, b.created))
		}
	}
	return b.rest(ctx, r)
}

// rest measures objects at rest, whose receiver reports on as before.
func (b *bench) rest(ctx context.Context, r *shared) error {
	before, err := b.writes(ctx)
	if err != nil {
		return err
	}
	used, err := b.used()
	if err != nil {
		return err
	}
	if err := r.run(ctx, restWindow); err != nil {
		return err
	}
	after, err := b.writes(ctx)
	if err != nil {
		return err
	}
	b.table.add(fmt.Sprintf("Status: writes at rest in %s", restWindow), "%d", after-before)
	now, err := b.used()
	if err != nil {
		return err
	}
	b.table.add(fmt.Sprintf("Status: CPU time at rest in %s", restWindow), "%s", now.since(used, 0))
	if after != before {
		b.faults = append(b.faults, fmt.Errorf("%d statuses were written at rest", after-before))
	}
	return nil
}

// startReporting restarts the operator so that it takes reports.
func (b *bench) startReporting(ctx context.Context) (*shared, error) {
	if err := b.stack.operator.Stop(); err != nil {
		return nil, err
	}
	address, err := loopback.Address(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.startOperatorAndWait(ctx, "--reports-listen", address); err != nil {
		return nil, err
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{reports.Audience}}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "mandrill-receiver"}}
	if err := b.stack.admin.SubResource("token").Create(ctx, account, request); err != nil {
		return nil, fmt.Errorf("making a token: %w", err)
	}
	return &shared{bench: b, url: "http://" + address + reports.Path, token: request.Status.Token, received: time.Now()}, nil
}

// writes is how many statuses the operator has written.
func (b *bench) writes(ctx context.Context) (int, error) {
	m, err := harness.Scrape(ctx, b.stack.operatorMetrics)
	return int(m.Sum("mandrill_operator_delivery_status_writes_total", `outcome="written"`)), err
}

// untilStill reports until nothing was written for long, and something was. It returns the number of writes, and the time to the last one.
func (r *shared) untilStill(ctx context.Context, objects int) (writes int, took time.Duration, err error) {
	first, err := r.bench.writes(ctx)
	if err != nil {
		return 0, 0, err
	}
	began, last := time.Now(), time.Now()
	for time.Since(last) < stillness || writes == 0 && time.Since(began) < r.bench.deadline {
		if err := r.run(ctx, 5*time.Second); err != nil {
			return 0, 0, err
		}
		now, err := r.bench.writes(ctx)
		if err != nil {
			return 0, 0, err
		}
		if now-first != writes {
			writes, last = now-first, time.Now()
			harness.Logf("%d of %d statuses are written", writes, objects)
		}
	}
	return writes, last.Sub(began), nil
}

// run reports on all objects, as often as a receiver does, for some time.
func (r *shared) run(ctx context.Context, window time.Duration) error {
	for until := time.Now().Add(window); ; {
		if err := r.report(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(min(time.Until(until), reports.IntervalSeconds*time.Second)): // the interval of a receiver
		}
		if !time.Now().Before(until) {
			return nil
		}
	}
}

// report sends the state of all objects.
func (r *shared) report(ctx context.Context) error {
	age := func(at time.Time) *float64 {
		seconds := time.Since(at).Seconds()
		return &seconds
	}
	report := reports.Report{Version: reports.Version, Receiver: "bench", Instance: "bench"}
	for number := range r.bench.created {
		object := r.bench.object(number)
		webhook := reports.Webhook{Name: object.Namespace + "/" + object.Name, LastReceivedAge: age(r.received), LastDeliveredAge: age(r.received)}
		if !r.failing.IsZero() {
			webhook.FailingFor, webhook.WaitingEvents, webhook.OldestWaitingAge = age(r.failing), 1, age(r.failing)
			webhook.Failure = &reports.Failure{Reason: reports.ReasonUnreachable, Age: *age(r.failing)}
		}
		if report.Webhooks = append(report.Webhooks, webhook); len(report.Webhooks) == reports.MaxWebhooks || number == r.bench.created-1 {
			if err := r.post(ctx, &report); err != nil {
				return err
			}
			report.Webhooks = nil
		}
	}
	return nil
}

func (r *shared) post(ctx context.Context, report *reports.Report) error {
	r.sequence++
	report.Sequence = r.sequence
	body, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("encoding a report: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("reporting: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+r.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("reporting: %w", err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusAccepted {
		return fmt.Errorf("reporting: status %d, %w", response.StatusCode, err)
	}
	return nil
}
