package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

const (
	accepting     = 3  // receivers that store at the same time
	acceptWorkers = 48 // batches that are stored at a time
	acceptRounds  = 3
)

// acceptCases are sizes of batches, and how many of them are stored in a round.
var acceptCases = []struct{ events, batches int }{{1, 6000}, {100, 3000}, {1000, 400}}

// measureAccept measures how fast several receivers store batches in one NATS server, which is what the leader of a stream takes. They are
// journals without HTTP, which each receiver has its own processors for.
func measureAccept(ctx context.Context, died context.CancelCauseFunc, dir string) error {
	fmt.Print("\n| events of a batch | NATS syncs | batches/s | events/s | processors of NATS |\n|---|---|---|---|---|\n")
	for _, sync := range []bool{false, true} {
		if err := measureAcceptOf(ctx, died, dir, sync); err != nil {
			return err
		}
	}
	return nil
}

func measureAcceptOf(ctx context.Context, died context.CancelCauseFunc, dir string, sync bool) (err error) {
	syncs := map[bool]string{false: "every 2 minutes (default)", true: "always"}[sync]
	nats, err := startNATS(ctx, died, natsStore(dir, "accept"), sync)
	defer func() { err = errors.Join(err, nats.stop()) }()
	if err != nil {
		return err
	}
	journals := [accepting]*journal.Journal{}
	for i := range journals {
		opened, stop, err := openJournal(ctx, nats)
		if err != nil {
			return err
		}
		defer stop() //nolint:errcheck // nothing depends on it
		journals[i] = opened
	}
	for _, c := range acceptCases {
		measured := samples{}
		for range acceptRounds {
			one, err := storeOnce(ctx, journals[:], nats, c.events, c.batches)
			if err != nil {
				return err
			}
			measured[1] = append(measured[1], one)
		}
		batches := measured.median(1, func(one sample) float64 { return one.rate })
		fmt.Printf("| %d | %s | %.0f | %.0f | %.2f |\n", c.events, syncs, batches, batches*float64(c.events), measured.median(1, func(one sample) float64 { return one.nats }))
	}
	harness.Logf("measured what one stream leader accepts, with syncs: %s", syncs)
	return nil
}

// storeOnce stores batches that are made before. The rate is that of batches.
func storeOnce(ctx context.Context, journals []*journal.Journal, nats *natsProcess, events, count int) (sample, error) {
	g := newGenerator(uint64(time.Now().UnixNano()))
	batches := make([]journal.Batch, count)
	for i := range batches {
		made := make([][]byte, events)
		for k := range made {
			made[k] = g.event(i, k)
		}
		batches[i] = journalBatch(i%100, made)
	}
	before, err := nats.program.CPU()
	if err != nil {
		return sample{}, err
	}
	begin := time.Now()
	err = inParallel(count, acceptWorkers, func(worker, i int) error {
		_, err := journals[worker%len(journals)].Append(ctx, batches[i])
		return err
	})
	took := time.Since(begin)
	after, cpuErr := nats.program.CPU()
	return sample{rate: float64(count) / took.Seconds(), nats: (after - before).Seconds() / took.Seconds()}, errors.Join(err, cpuErr)
}
