package journal_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// Dead letters that are too old are removed with their large events, and counted by webhook, in a buffer of one process and in a
// shared one. Younger ones stay. With a maximum age of 0 all do.
func TestDeadLettersAgeOut(t *testing.T) {
	t.Parallel()
	for name, setEngine := range map[string]func(*testing.T, *journal.Options){
		"exclusive": func(t *testing.T, options *journal.Options) {
			options.Engine = &engine.Embedded{Dir: t.TempDir(), Reserve: smallReserve, Logger: options.Logger}
		},
		"shared": func(t *testing.T, options *journal.Options) {
			options.Engine = &engine.External{URLs: []string{newExternal(t).url()}, Logger: options.Logger}
		},
	} {
		for _, maxAge := range []time.Duration{90 * time.Minute, 0} {
			t.Run(name+" "+maxAge.String(), func(t *testing.T) {
				t.Parallel()
				options, _ := shared(t)
				setEngine(t, &options)
				testAgeOut(t, options, maxAge)
			})
		}
	}
}

// await polls a condition until the context ends.
func (o *opened) await(ctx context.Context, what string, condition func() bool) {
	o.t.Helper()
	for tick := time.Tick(20 * time.Millisecond); !condition(); <-tick {
		if ctx.Err() != nil {
			o.t.Errorf("%s did not happen", what)
			return
		}
	}
}

func testAgeOut(t *testing.T, options journal.Options, maxAge time.Duration) {
	t.Helper()
	var passed atomic.Int64
	begun := time.Now()
	registry := prometheus.NewRegistry()
	options.Metrics, options.DeadLetterMaxAge = journal.NewMetrics(registry), maxAge
	options.Now = func() time.Time { return begun.Add(time.Duration(passed.Load())) }
	j := journal.New(options)
	journal.AgeEvery(j, 20*time.Millisecond, func() time.Duration { return time.Duration(passed.Load()) })
	o := run(t, j)
	o.deadLetter("shop/a", `{"a":1}`, journal.ReasonRefused)
	o.deadLetter("shop/a", largeEvent(2304<<10, 1), journal.ReasonRefused)
	o.deadLetter("shop/b", `{"b":1}`, journal.ReasonRefused)
	o.append(batch("shop/c", largeEvent(2304<<10, 2))) // a whole batch with an object
	if removed, err := o.SetAside(t.Context(), []journal.Position{{Seq: o.next("shop/c", 0).Position.Seq}}); err != nil || removed.Batches != 1 {
		t.Fatalf("%+v, %v", removed, err)
	}
	passed.Add(int64(40 * time.Minute))
	o.deadLetter("shop/b", `{"b":2}`, journal.ReasonRefused)
	if maxAge > 0 {
		o.work(func(ctx context.Context, _ *journal.Consumer) {
			o.await(ctx, "the first pass", func() bool { // of this leader: those before have recorded an earlier time
				state, err := o.server().KeyValue(ctx, "mandrill-state")
				if err != nil {
					return false
				}
				recorded, err := state.Get(ctx, "clock")
				return err == nil && string(recorded.Value()) == strconv.FormatInt(options.Now().UnixMilli(), 10)
			})
			passed.Add(int64(61 * time.Minute))
			o.await(ctx, "the removal", func() bool {
				return agedOut(t, registry)["shop/c"] == 1 // the last one; it is counted when its object is gone
			})
		})
	}
	want, aged, objects := []uint64{1, 2, 3, 4, 5}, map[string]float64{"shop/a": 0, "shop/b": 0, "shop/c": 0}, true
	if maxAge > 0 {
		want, aged, objects = []uint64{5}, map[string]float64{"shop/a": 2, "shop/b": 1, "shop/c": 1}, false
	}
	seqs, _ := o.seqs(journal.DeadLetterFilter{}, 10)
	if diff := cmp.Diff(want, seqs); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
	if stored := o.messages(objectStream) > 0; stored != objects {
		t.Errorf("large events are there: %t, want %t", stored, objects)
	}
	if diff := cmp.Diff(aged, agedOut(t, registry)); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("names of metrics: %v, %v", problems, err)
	}
}

// agedOut returns how many dead letters of each webhook were removed.
func agedOut(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{"shop/a": 0, "shop/b": 0, "shop/c": 0}
	for _, family := range families {
		if family.GetName() == "mandrill_receiver_dead_letters_aged_out_total" {
			for _, metric := range family.GetMetric() {
				got[metric.GetLabel()[0].GetValue()] = metric.GetCounter().GetValue()
			}
		}
	}
	return got
}
