package main

import (
	"crypto/sha1"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
)

// BenchmarkIngest compares the processor time of all that the receiver does with a batch before it sends events with that of the two
// steps that nobody can leave out: decoding the form, and SHA-1 of its value. They take turns, so that other load on the machine affects
// both. It reports the ratio to ParseForm and SHA-1, and that to the form parser of net/url and SHA-1.
func BenchmarkIngest(b *testing.B) {
	const batches = 8
	generator := newEventGenerator(1)
	target := mapping.Target{Source: "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/bench"}.Prepare()
	var bodies [batches][]byte
	var signatures [batches]string
	for i := range bodies {
		batch := mandrilltest.Batch(generator.events(mandrill.MaxBatchEvents)...)
		bodies[i] = mandrilltest.Body(batch)
		signatures[i] = mandrill.Sign(signingKey, hookURL(true, 0), mandrill.Form{{Name: mandrill.EventsField, Value: batch}})
	}
	body := make([]byte, 0, 2*len(bodies[0]))
	var whole, floor, standard time.Duration
	for n := 0; b.Loop(); n++ {
		next := bodies[n%batches]
		body = append(body[:0], next...)
		whole += processorTime(func() { ingest(b, target, body, signatures[n%batches]) })
		body = append(body[:0], next...)
		floor += processorTime(func() {
			form, _ := mandrill.ParseForm(body)
			sha1.Sum(form.Get(mandrill.EventsField))
		})
		standard += processorTime(func() {
			values, _ := url.ParseQuery(string(next))
			sha1.Sum([]byte(values.Get(mandrill.EventsField)))
		})
	}
	events := float64(b.N * mandrill.MaxBatchEvents)
	b.ReportMetric(float64(whole.Nanoseconds())/events, "ns/event")
	b.ReportMetric(whole.Seconds()/floor.Seconds(), "÷floor")
	b.ReportMetric(whole.Seconds()/standard.Seconds(), "÷net/url")
}

// ingest does what the receiver does with a batch: decode, verify, split, parse and map.
func ingest(b *testing.B, target mapping.Target, body []byte, signature string) {
	b.Helper()
	form, err := mandrill.ParseForm(body)
	if err != nil || !mandrill.Verify(signature, hookURL(true, 0), form, signingKey) {
		b.Fatal("the batch is not valid: ", err)
	}
	events, err := mandrill.SplitBatch(form.Get(mandrill.EventsField))
	if err != nil {
		b.Fatal(err)
	}
	for i, id := range mapping.EventIDs(events) {
		ce := mapping.Map(target, mandrill.ParseEvent(events[i]), id)
		mapped += len(ce.ID)
	}
}

// mapped keeps the compiler from leaving the work out.
var mapped int

// processorTime returns how much processor time of this process a call takes.
func processorTime(do func()) time.Duration {
	before := usedTime()
	do()
	return usedTime() - before
}

func usedTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
