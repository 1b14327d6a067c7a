package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// Dead letters and the backlog of a buffer in NATS are reached without a receiver.
func TestDeadLettersAtNATS(t *testing.T) {
	t.Parallel()
	nats, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	nats.Start()
	t.Cleanup(func() { nats.Shutdown(); nats.WaitForShutdown() })
	if !nats.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	command := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := deadLetters(t.Context(), append(args, "--buffer", nats.ClientURL()), &out)
		return out.String(), err
	}
	if _, err := command("list"); err == nil || !strings.Contains(err.Error(), "there is no buffer of the name mandrill") {
		t.Errorf("without a buffer: %v", err)
	}
	storeDeadLetter(t, nats.ClientURL())
	if out, err := command("list"); err != nil || !strings.Contains(out, "shop/a") || !strings.Contains(out, "refused") {
		t.Errorf("list: %q, %v", out, err)
	}
	if out, err := command("show", "1"); err != nil || !strings.Contains(out, `"event": "open"`) && !strings.Contains(out, `"event":"open"`) {
		t.Errorf("show: %q, %v", out, err)
	}
	if out, err := command("redrive", "--all"); err != nil || out != "redrove 1 dead letter\n" {
		t.Errorf("redrive: %q, %v", out, err)
	}
	if out, err := command("list"); err != nil || out != "no dead letters\n" {
		t.Errorf("list: %q, %v", out, err)
	}
	waiting := func(args ...string) string {
		var out bytes.Buffer
		if err := backlog(t.Context(), append(args, "--buffer", nats.ClientURL()), &out); err != nil {
			t.Error(err)
		}
		return out.String()
	}
	if out := waiting("list"); !strings.Contains(out, "batch:2") || !strings.Contains(out, "shop/a") {
		t.Errorf("backlog list: %q", out)
	}
	if out := waiting("set-aside", "batch:2"); out != "set aside 1 batch with 1 event\n" {
		t.Errorf("backlog set-aside: %q", out)
	}
	if out := waiting("list"); out != "nothing waits\n" {
		t.Errorf("backlog list: %q", out)
	}
	if out, err := command("list"); err != nil || !strings.Contains(out, "set_aside") {
		t.Errorf("list: %q, %v", out, err)
	}
	impatient, cancel := context.WithTimeout(t.Context(), 10*time.Second) // enough to connect
	defer cancel()
	var out bytes.Buffer
	if err := deadLetters(impatient, []string{"purge", "--message", "1", "--buffer", nats.ClientURL()}, &out); err == nil || !strings.Contains(err.Error(), "no receiver has carried out the order yet") {
		t.Errorf("erased without a receiver: %q, %v", out.String(), err)
	}
	if out, err := command("purge", "1"); err == nil || !strings.Contains(err.Error(), "there is no dead letter 1") {
		t.Errorf("purge: %q, %v", out, err)
	}
}

// storeDeadLetter stores a batch in NATS, and makes its event a dead letter.
func storeDeadLetter(t *testing.T, url string) {
	t.Helper()
	limits, err := journal.SplitLimits(journal.MinBytes, 0)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	j := journal.New(journal.Options{Engine: &engine.External{URLs: []string{url}, Logger: logger}, Limits: limits, Logger: logger})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	if err := j.WaitAvailable(ctx); err != nil {
		t.Fatal(err)
	}
	raw := []byte(`{"event":"open"}`)
	if _, err := j.Append(ctx, journal.Batch{Webhook: "shop/a", Received: time.Now(), Value: []byte(`[{"event":"open"}]`), Events: [][]byte{raw}}); err != nil {
		t.Fatal(err)
	}
	working, stop := context.WithCancel(ctx)
	_ = j.Lead(working, func(ctx context.Context, consumer *journal.Consumer) error {
		return consumer.Watch(ctx, func(waiting journal.BatchInfo) { // of the partition that has the webhook
			defer stop()
			batch, err := consumer.Next(ctx, waiting.Webhook, waiting.Seq)
			if err == nil {
				err = consumer.DeadLetter(ctx, batch, []journal.DeadLetter{{PendingEvent: journal.PendingEvent{ID: "1", Raw: raw}, Reason: journal.ReasonRefused}})
			}
			if err == nil {
				err = consumer.Ack(ctx, batch)
			}
			if err != nil {
				t.Error(err)
			}
		}, func() {})
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
