package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/receiver/report"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

// source is a state of delivery that the test changes.
type source struct {
	mu      sync.Mutex
	all     []reports.Webhook
	changed []reports.Webhook
	buffer  *reports.Buffer
	wake    chan struct{}
}

func newSource(webhooks ...string) *source {
	s := &source{wake: make(chan struct{}, 1)}
	for _, name := range webhooks {
		s.all = append(s.all, reports.Webhook{Name: name})
	}
	return s
}

func (s *source) Changed() <-chan struct{} { return s.wake }

func (s *source) Changes() []reports.Webhook {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.wake:
	default:
	}
	list := s.changed
	s.changed = nil
	return list
}

func (s *source) Snapshot() []reports.Webhook { return s.all }

func (s *source) Buffer() *reports.Buffer { return s.buffer }

func (s *source) change(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		s.changed = append(s.changed, reports.Webhook{Name: name, CircuitOpen: true})
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// operator is a strict fake of the operator's endpoint: it refuses what the form does not allow.
type operator struct {
	t      *testing.T
	began  time.Time
	answer func(call int) (status int, err error) // default: 200
	hang   time.Duration

	mu       sync.Mutex
	requests []*http.Request
	reports  []reports.Report
	at       []time.Duration // since the beginning
}

func (o *operator) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	got, decoder := reports.Report{}, json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil || len(body) > reports.MaxBytes || len(got.Webhooks) > reports.MaxWebhooks {
		o.t.Errorf("a report of %d bytes with %d webhooks: %v", len(body), len(got.Webhooks), err)
	}
	if r.Method != http.MethodPost || r.URL.Path != "/base/v1/reports" || r.Header.Get("Content-Type") != "application/json" {
		o.t.Errorf("got %s %s with %v", r.Method, r.URL, r.Header)
	}
	o.mu.Lock()
	call := len(o.reports)
	o.requests, o.reports, o.at = append(o.requests, r), append(o.reports, got), append(o.at, time.Since(o.began))
	o.mu.Unlock()
	if o.hang > 0 {
		select {
		case <-time.After(o.hang):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	status := http.StatusOK
	if o.answer != nil {
		if status, err = o.answer(call); err != nil {
			return nil, err
		}
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Location": {"http://s3ntinel.example/"}}, Body: io.NopCloser(strings.NewReader("s3ntinel")), Request: r}, nil
}

func (o *operator) take() (taken []reports.Report, at []time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	taken, at = o.reports, o.at
	o.reports, o.at = nil, nil
	return taken, at
}

func names(report reports.Report) (list []string) {
	for _, webhook := range report.Webhooks {
		list = append(list, webhook.Name)
	}
	return list
}

type fixture struct {
	*report.Sender
	operator *operator
	registry *prometheus.Registry
	log      *logbuffer.Buffer
	stop     func()
}

// run starts a sender in a bubble of synctest.
func run(t *testing.T, from report.Source, change ...func(*operator, *report.Options)) *fixture {
	t.Helper()
	f := &fixture{operator: &operator{t: t, began: time.Now()}, registry: prometheus.NewRegistry(), log: &logbuffer.Buffer{}}
	options := report.Options{
		URL: "http://s3ntinel.example/base/", Source: from, Receiver: "receiver-0", Instance: "i", Metrics: report.NewMetrics(f.registry),
		HTTPClient: &http.Client{Transport: f.operator}, Logger: slog.New(slog.NewJSONHandler(f.log, nil)),
	}
	for _, each := range change {
		each(f.operator, &options)
	}
	f.Sender = report.New(options)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { f.Run(ctx); close(ended) }()
	f.stop = func() { cancel(); <-ended }
	return f
}

func (f *fixture) assertCounted(t *testing.T, want map[string]float64) {
	t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, metric := range families[0].GetMetric() {
		if value := metric.GetCounter().GetValue(); value > 0 {
			got[metric.GetLabel()[0].GetValue()] = value
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || len(families[0].GetMetric()) != 4 {
		t.Errorf("%d series; reports by outcome (-want +got):\n%s", len(families[0].GetMetric()), diff)
	}
	if log := f.log.String(); strings.Contains(log, "s3ntinel") {
		t.Errorf("the log has an address or an answer:\n%s", log)
	}
}

func (f *fixture) levels() (levels []string) {
	for line := range strings.Lines(f.log.String()) {
		var entry struct{ Level string }
		_ = json.Unmarshal([]byte(line), &entry)
		levels = append(levels, entry.Level)
	}
	return levels
}

// All webhooks are reported every interval, changed ones within a second, and the last report says that the receiver stops.
func TestReportsAreSentAtIntervalsAndOnChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		from := newSource("shop/a", "shop/b")
		from.buffer = &reports.Buffer{ID: "x", State: reports.BufferAvailable}
		f := run(t, from)
		<-time.After(70 * time.Second)
		sent, at := f.operator.take()
		if len(sent) != 3 || at[0] != 0 || at[1] < 27*time.Second || at[1] > 30*time.Second || at[2]-at[1] < 27*time.Second || at[2]-at[1] > 30*time.Second {
			t.Fatalf("%d reports, after %v; want three, 27 to 30 seconds apart", len(sent), at)
		}
		for i, each := range sent {
			want := reports.Report{Version: 1, Receiver: "receiver-0", Instance: "i", Sequence: uint64(i) + 1, Buffer: from.buffer, Webhooks: from.all}
			if diff := cmp.Diff(want, each); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		begun := time.Now()
		for range 20 { // changes for 2 seconds
			from.change("shop/b")
			<-time.After(100 * time.Millisecond)
		}
		<-time.After(time.Second)
		sent, at = f.operator.take()
		if len(sent) < 3 || len(sent) > 4 || at[0] > begun.Sub(f.operator.began)+time.Millisecond || !slices.Equal(names(sent[0]), []string{"shop/b"}) {
			t.Errorf("%d reports for changes, after %v; want one a second, the first at once", len(sent), at)
		}
		f.stop()
		sent, _ = f.operator.take()
		if len(sent) != 1 || !sent[0].Stopping || len(sent[0].Webhooks) != 2 {
			t.Errorf("got %+v, want a last report with all webhooks", sent)
		}
		if f.log.String() != "" {
			t.Errorf("the log has:\n%s", f.log)
		}
	})
}

// Without webhooks the operator hears from the receiver nevertheless.
func TestReceiverWithoutWebhooksReports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := run(t, newSource())
		<-time.After(time.Second)
		f.stop()
		if sent, _ := f.operator.take(); len(sent) != 2 || sent[0].Receiver != "receiver-0" || sent[0].Stopping || !sent[1].Stopping {
			t.Errorf("got %+v, want two reports, the last of which says that the receiver stops", sent)
		}
	})
}

// Many webhooks, and long names, need several reports: each is within the limits, and none is left out.
func TestManyWebhooksAreSentInParts(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]int{"common names": 20, "long names": 2000} {
		synctest.Test(t, func(t *testing.T) {
			var want []string
			for i := range 5000 {
				want = append(want, fmt.Sprintf("%s/%04d", strings.Repeat("n", length), i))
			}
			f := run(t, newSource(want...))
			<-time.After(time.Second)
			sent, _ := f.operator.take()
			var got []string
			for i, each := range sent {
				got = append(got, names(each)...)
				if each.Sequence != uint64(i)+1 || each.Stopping {
					t.Errorf("%s: report %d has the sequence %d, stopping %t", name, i, each.Sequence, each.Stopping)
				}
			}
			if !slices.Equal(got, want) || len(sent) < 5 {
				t.Errorf("%s: %d webhooks in %d reports, want all 5000 in order", name, len(got), len(sent))
			}
			f.stop()
			sent, _ = f.operator.take()
			for i, each := range sent {
				if each.Stopping != (i == len(sent)-1) {
					t.Errorf("%s: report %d of %d: stopping %t", name, i+1, len(sent), each.Stopping)
				}
			}
		})
	}
}

// A failure is said once, and its end once. Restarts of the operator, and answers of one that is not the leader, are not said.
func TestOutagesAreLoggedOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		failing int // reports in a row
		answer  int
		err     error
		outcome string
		levels  []string
		text    string
	}{
		"one refused":     {1, http.StatusServiceUnavailable, nil, "refused", nil, ""},
		"two unanswered":  {2, 0, io.ErrUnexpectedEOF, "failed", nil, ""},
		"many refused":    {20, http.StatusUnauthorized, nil, "refused", []string{"WARN", "INFO"}, "the operator answered with status 401"},
		"many unanswered": {20, 0, io.ErrUnexpectedEOF, "failed", []string{"WARN", "INFO"}, "the operator cannot be reached: connection closed"},
		"redirects":       {20, http.StatusFound, nil, "refused", []string{"WARN", "INFO"}, "the operator answered with status 302"},
		"an older one":    {8, http.StatusNotFound, nil, "unsupported", []string{"WARN", "INFO"}, "is it older than this receiver"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := run(t, newSource("shop/a"), func(o *operator, _ *report.Options) {
				o.answer = func(call int) (int, error) {
					if call < test.failing {
						return test.answer, test.err
					}
					return http.StatusNoContent, nil
				}
			})
			<-time.After(15 * time.Minute)
			sent, at := f.operator.take()
			for i := 1; i < test.failing; i++ {
				pause, longest := at[i]-at[i-1], 30*time.Second
				if test.answer == http.StatusNotFound {
					longest = 10 * time.Minute
				}
				if want := min(time.Second<<(i-1), longest); pause != want {
					t.Errorf("%s: pause %d is %s, want %s", name, i, pause, want)
				}
			}
			if diff := cmp.Diff(test.levels, f.levels()); diff != "" || !strings.Contains(f.log.String(), test.text) {
				t.Errorf("%s: levels (-want +got):\n%s\n%s", name, diff, f.log)
			}
			if status := f.Status(); status.Failure != "" || status.LastAccepted.IsZero() {
				t.Errorf("%s: the status is %+v after the end", name, status)
			}
			f.assertCounted(t, map[string]float64{test.outcome: float64(test.failing), "accepted": float64(len(sent) - test.failing)})
			f.stop()
		})
	}
}

// An operator that hangs takes one request at a time, and the stop of the receiver waits for it two seconds at most.
func TestHangingOperatorHoldsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		from := newSource("shop/a")
		f := run(t, from, func(o *operator, _ *report.Options) { o.hang = time.Hour })
		for range 1000 {
			from.change("shop/a")
			<-time.After(time.Second)
		}
		sent, _ := f.operator.take()
		if len(sent) > 40 {
			t.Errorf("%d requests in 1000 seconds, want one every 35", len(sent))
		}
		if f.Status().Failure != "the operator cannot be reached: timeout" {
			t.Errorf("the status is %+v", f.Status())
		}
		begun := time.Now()
		f.stop()
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("the stop took %s", took)
		}
		if diff := cmp.Diff([]string{"WARN"}, f.levels()); diff != "" {
			t.Errorf("levels (-want +got):\n%s", diff)
		}
	})
}

// The token is read for each report, because the kubelet renews it.
func TestTokenIsReadForEachReport(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s3ntinel-token")
	for _, test := range []struct{ content, want, failure string }{
		{"-", "", ""}, // there is no file
		{"first\n", "Bearer first", ""},
		{"second", "Bearer second", ""},
		{"", "", ""},
		{"s3ntinel token", "", "the token for the operator has "},
		{"/", "", "the file with the token for the operator cannot be read"}, // a folder
	} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		err := error(nil)
		switch test.content {
		case "-":
		case "/":
			err = os.Mkdir(path, 0o700)
		default:
			err = os.WriteFile(path, []byte(test.content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			f := run(t, newSource("shop/a"), func(_ *operator, o *report.Options) { o.TokenFile = path })
			synctest.Wait()
			failure := f.Status().Failure
			if !strings.HasPrefix(failure, test.failure) || (failure == "") != (test.failure == "") || strings.Contains(failure, "s3ntinel") {
				t.Errorf("%q: the failure is %q, want %q", test.content, failure, test.failure)
			}
			if test.failure == "" && f.operator.requests[0].Header.Get("Authorization") != test.want {
				t.Errorf("%q: Authorization is %q, want %q", test.content, f.operator.requests[0].Header.Get("Authorization"), test.want)
			}
			f.stop()
		})
	}
}

// Garbage of an operator, however long, changes nothing and takes no memory.
func TestGarbageIsNotKept(t *testing.T) {
	t.Parallel()
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 64 {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}))
	t.Cleanup(endless.Close)
	registry := prometheus.NewRegistry()
	sender := report.New(report.Options{URL: endless.URL, Source: newSource("shop/a"), Metrics: report.NewMetrics(registry), Interval: time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { sender.Run(ctx) })
	poll.True(t, 2*time.Minute, "a report is accepted", func() bool { return !sender.Status().LastAccepted.IsZero() })
	cancel()
	running.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}
