package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/poll"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/erasure"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

// fakeDeadLetters is a journal with dead letters in memory. It returns two per page, and does two per request.
type fakeDeadLetters struct {
	letters []journal.DeadLetterInfo
	full    bool
	erased  []erasure.Request
}

func (f *fakeDeadLetters) DeadLetters(_ context.Context, filter journal.DeadLetterFilter, after uint64, _ int) (page []journal.DeadLetterInfo, next uint64, err error) {
	for _, letter := range f.letters {
		if letter.Seq <= after || filter.Webhook != "" && filter.Webhook != letter.Webhook || filter.Reason != "" && filter.Reason != letter.Reason {
			continue
		}
		if len(page) == 2 {
			return page, page[1].Seq, nil
		}
		page = append(page, letter)
	}
	return page, 0, nil
}

func (f *fakeDeadLetters) DeadLetter(_ context.Context, seq uint64) (journal.DeadLetterInfo, journal.PendingEvent, error) {
	for _, letter := range f.letters {
		if letter.Seq == seq {
			return letter, journal.PendingEvent{Raw: []byte(`{"event": "send"}`), Answer: "no"}, nil
		}
	}
	return journal.DeadLetterInfo{}, journal.PendingEvent{}, journal.ErrNotFound
}

func (f *fakeDeadLetters) Redrive(ctx context.Context, selection journal.Selection) (journal.Progress, error) {
	done, err := f.Purge(ctx, selection)
	return done, err
}

func (f *fakeDeadLetters) Purge(ctx context.Context, selection journal.Selection) (done journal.Progress, err error) {
	seqs := selection.Seqs
	if len(seqs) == 0 {
		page, next, _ := f.DeadLetters(ctx, selection.Filter, selection.After, 2)
		for _, letter := range page {
			seqs = append(seqs, letter.Seq)
		}
		done.Next, done.UpTo = next, 9
	}
	for _, seq := range seqs {
		switch {
		case f.full && done.Count == 1:
			return done, journal.ErrFull
		case seq == 6:
			done.Damaged = append(done.Damaged, seq)
			continue
		}
		before := len(f.letters)
		if f.letters = slices.DeleteFunc(f.letters, func(letter journal.DeadLetterInfo) bool { return letter.Seq == seq }); len(f.letters) == before {
			done.Missing = append(done.Missing, seq)
			continue
		}
		done.Count++
	}
	return done, nil
}

// OrderErasure takes every order and has it carried out at once.
func (f *fakeDeadLetters) OrderErasure(_ context.Context, request erasure.Request) (string, error) {
	if err := request.Check(); err != nil {
		return "", err
	}
	f.erased = append(f.erased, request)
	return "order", nil
}

func (f *fakeDeadLetters) ErasureResult(context.Context, string) (*erasure.Result, error) {
	if f.full {
		return &erasure.Result{Kept: 2, Unreadable: 1}, nil
	}
	return &erasure.Result{DeadLetters: 1, Events: 2, Batches: 2}, nil
}

func newFakeDeadLetters() *fakeDeadLetters {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &fakeDeadLetters{letters: []journal.DeadLetterInfo{
		{Seq: 3, Webhook: "shop/a", Type: "com.mandrill.message.send", ID: "11", Reason: "refused", Status: 400, Attempts: 1, DeadLettered: start, Received: start},
		{Seq: 4, Webhook: "shop/bb", Type: "com.mandrill.inbound", ID: "22", Reason: "exhausted", Attempts: 12, DeadLettered: start.Add(71 * time.Hour), Received: start},
		{Seq: 5, Webhook: "shop/a", ID: "33", Reason: "refused", Status: 422, Attempts: 1, DeadLettered: start.Add(72 * time.Hour), Received: start},
	}}
}

// serveDeadLetters serves them at a socket.
func serveDeadLetters(t *testing.T, f *fakeDeadLetters) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "admin.sock")
	listener, err := listenOn(t, socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: admin.DeadLettersHandler(f, slog.New(slog.DiscardHandler))}}
	server.Start()
	t.Cleanup(server.Close)
	return socket
}

const jsonList = `[
  {"seq":3,"webhook":"shop/a","type":"com.mandrill.message.send","id":"11","reason":"refused","status":400,"attempts":1,"received":"2026-01-02T03:04:05Z","deadLettered":"2026-01-02T03:04:05Z"},
  {"seq":5,"webhook":"shop/a","id":"33","reason":"refused","status":422,"attempts":1,"received":"2026-01-02T03:04:05Z","deadLettered":"2026-01-05T03:04:05Z"}
]
`

const shown = `{
  "seq": 3,
  "webhook": "shop/a",
  "type": "com.mandrill.message.send",
  "id": "11",
  "reason": "refused",
  "status": 400,
  "attempts": 1,
  "received": "2026-01-02T03:04:05Z",
  "deadLettered": "2026-01-02T03:04:05Z",
  "answer": "no",
  "size": 17,
  "data": {"event": "send"}
}
`

// With --progress the number so far is printed about once a second, so that the person sees it. The work ends when nobody reads that.
func TestWorkSaysHowFarItIs(t *testing.T) {
	t.Parallel()
	for output, want := range map[string]string{
		"json":  "{\"deadLetters\":2,\"dryRun\":false,\"more\":true}\n{\"deadLetters\":3,\"dryRun\":false,\"more\":true}\n{\"deadLetters\":3,\"dryRun\":false}\n",
		"table": "redrove 2 dead letters so far\nredrove 3 dead letters so far\nredrove 3 dead letters\n",
	} {
		var out bytes.Buffer
		command, err := newDeadLetterCommand([]string{"redrive", "--all", "--progress", "--output=" + output, "--admin-socket=x"}, &out)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		command.now = func() time.Time {
			now = now.Add(progressPause)
			return now
		}
		if err := command.do(command, t.Context(), journalStore{newFakeDeadLetters()}); err != nil || out.String() != want {
			t.Errorf("%s: got %v, %q", output, err, out.String())
		}
	}
	f := newFakeDeadLetters()
	command, err := newDeadLetterCommand([]string{"purge", "--all", "--progress", "--admin-socket=x"}, goneReader{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	command.now = func() time.Time {
		now = now.Add(progressPause)
		return now
	}
	if err := command.do(command, t.Context(), journalStore{f}); !errors.Is(err, io.ErrClosedPipe) || len(f.letters) != 1 {
		t.Errorf("a reader who has gone: got %v, and %d are left", err, len(f.letters))
	}
}

// goneReader is an output that nobody reads.
type goneReader struct{}

func (goneReader) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	for args, test := range map[string]struct {
		full      bool
		want, err string
		left      int
	}{
		"list --output json --webhook shop/a":         {want: jsonList, left: 3},
		"list --output=json --reason webhook_deleted": {want: "[]\n", left: 3},
		"list --webhook shop/c":                       {want: "no dead letters\n", left: 3},
		"show 3":                                      {want: shown, left: 3},
		"show 9":                                      {err: "there is no dead letter 9", left: 3},
		"redrive 3 5":                                 {want: "redrove 2 dead letters\n", left: 1},
		"redrive --all":                               {want: "redrove 3 dead letters\n"},
		"redrive --all --reason exhausted":            {want: "redrove 1 dead letter\n", left: 2},
		"redrive 3 8 9":                               {want: "redrove 1 dead letter\n", err: "there is no dead letter 8, 9;", left: 2},
		"redrive 6 3":                                 {want: "redrove 1 dead letter\n", err: "dead letters that cannot be read were skipped, purge removes them: 6", left: 2},
		"redrive --all --type send":                   {want: "redrove 1 dead letter\n", left: 2},
		"redrive --all --type com.mandrill.inbound -o json": {want: "{\"deadLetters\":1,\"dryRun\":false}\n", left: 2},
		"redrive --all --since 1h":                          {want: "redrove 0 dead letters\n", left: 3},
		"redrive --webhook shop/a --dry-run":                {want: "would have redriven 2 dead letters\n", left: 3},
		"purge --all --dry-run --type inbound":              {want: "would have purged 1 dead letter\n", left: 3},
		"list -o json --limit 2 --webhook shop/a":           {want: jsonList, left: 3},
		"list --type open":                                  {want: "no dead letters\n", left: 3},
		"purge --webhook shop/a":                            {want: "purged 2 dead letters\n", left: 1},
		"purge --webhook shop/c":                            {want: "purged 0 dead letters\n", left: 3},
		"purge --recipient ana@example.com":                 {want: erasedText("erased"), left: 3},
		"purge --message 12 --webhook=shop/a":               {want: erasedText("erased"), left: 3},
		"purge --dry-run --recipient=ana@example.com":       {want: erasedText("would erase"), left: 3},
		"purge --recipient Ana@example.com":                 {full: true, want: strings.Replace(erasedText("erased"), "1 dead letter, and 2 waiting events in 2", "0 dead letters, and 0 waiting events in 0", 1), err: "2 events are still there, because the buffer has no space to rewrite their batches: repeat the command when there is space\n1 stored message cannot be read", left: 3},
		"redrive --webhook shop/a --reason=refused":         {full: true, want: "redrove 1 dead letter\n", err: journal.ErrFull.Error(), left: 2},
	} {
		words := append(strings.Fields(args), "--admin-socket=x")
		for name, open := range map[string]func(*fakeDeadLetters) deadLetterStore{
			"socket":  func(f *fakeDeadLetters) deadLetterStore { return openSocket(t, f) },
			"journal": func(f *fakeDeadLetters) deadLetterStore { return journalStore{f} },
		} {
			f := newFakeDeadLetters()
			f.full = test.full
			var out bytes.Buffer
			command, err := newDeadLetterCommand(words, &out)
			if err == nil {
				err = command.do(command, t.Context(), open(f))
			}
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s, %s: got error %v, want one with %q", name, args, err, test.err)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" || len(f.letters) != test.left {
				t.Errorf("%s, %s: %d are left, want %d (-want +got):\n%s", name, args, len(f.letters), test.left, diff)
			}
		}
	}
}

func erasedText(verb string) string {
	return verb + " 1 dead letter, and 2 waiting events in 2 stored messages\n" + notReached
}

// The address may come from standard input, so that it is in no list of processes. Errors do not have it.
func TestErasureReadsTheAddress(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ input, want, err string }{
		{" ana@example.com\nbob@example.com\n", "ana@example.com", ""},
		{"ana@example.com", "ana@example.com", ""},
		{"", "", "there is none"},
		{"Ana <ana@example.com>\n", "", "must be an address such as"},
	} {
		command := &deadLetterCommand{name: "purge", place: bufferPlace{socket: "x"}, stdin: strings.NewReader(test.input), erasure: erasure.Request{Recipient: "-"}}
		err := command.check()
		if (err == nil) != (test.err == "") || err != nil && (!strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "<ana")) {
			t.Errorf("%q: %v", test.input, err)
		}
		if err == nil && command.erasure.Recipient != test.want {
			t.Errorf("%q: got %q", test.input, command.erasure.Recipient)
		}
	}
}

func openSocket(t *testing.T, f *fakeDeadLetters) *socketClient {
	t.Helper()
	client, err := newSocketClient(serveDeadLetters(t, f))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// The command finds the socket by its flag.
func TestDeadLettersThroughTheSocket(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	args := []string{"dead-letters", "redrive", "3", "--admin-socket", serveDeadLetters(t, newFakeDeadLetters()), "5"}
	if err := run(t.Context(), args, unset, &out); err != nil || out.String() != "redrove 2 dead letters\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

const table = `SEQ   WEBHOOK   TYPE                        REASON      STATUS   ATTEMPTS   RECEIVED   DEAD-LETTERED   ID
3     shop/a    com.mandrill.message.send   refused     400      1          3d         3d              11
4     shop/bb   com.mandrill.inbound        exhausted   -        12         3d         60m             22
5   shop/a   -   refused   422   1   3d   0s   33
`

// A page is printed before the next one is read, so its columns have widths of their own.
func TestDeadLettersTable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	command := &deadLetterCommand{stdout: &out, now: func() time.Time { return time.Date(2026, 1, 5, 3, 4, 5, 0, time.UTC) }}
	if err := command.list(t.Context(), openSocket(t, newFakeDeadLetters())); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(table, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 119 * time.Minute: "119m", 3 * time.Hour: "3h", 47 * time.Hour: "47h", 48 * time.Hour: "2d",
	} {
		if got := age(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

func TestDeadLettersRefuses(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "admin.sock")
	for args, want := range map[string]string{
		"":                                      "give one of list, show, redrive and purge after dead-letters",
		"lost":                                  "give one of list, show, redrive and purge after dead-letters",
		"list":                                  "give the --buffer-dir DIR or --admin-socket PATH of the running receiver",
		"list --admin-socket=x --buffer-dir=y":  "give one of --buffer-dir, --admin-socket and --buffer",
		"list --buffer=embedded":                "--buffer must be embedded, cluster or URLs",
		"list --buffer=nats://x --buffer-dir=y": "give one of --buffer-dir, --admin-socket and --buffer",
		"list --buffer=nats://x --buffer-name=a.b":                   "--buffer-name must be",
		"list 7 --admin-socket=x":                                    `unexpected argument "7"`,
		"list --output=yaml --admin-socket=x":                        "--output must be table or json",
		"list --reason=bored --admin-socket=x":                       "reason must be one of refused, exhausted, expired, webhook_deleted, quarantined, set_aside",
		"list --admin-socket=/" + strings.Repeat("x", 120):           "the system allows 107",
		"list --admin-socket=" + missing:                             "no receiver answers at " + missing,
		"list --buffer-dir=" + filepath.Dir(missing):                 "no receiver answers at " + missing,
		"show --admin-socket=x":                                      "give the number of one dead letter",
		"show 1 2 --admin-socket=x":                                  "give the number of one dead letter",
		"show -- -1 --admin-socket=x":                                `unexpected argument "-1"`,
		"redrive --admin-socket=x":                                   "nothing is selected: give seqs, webhook or all, such as: receiver dead-letters redrive 17 18, with numbers that list shows, or --webhook shop/a, or --all",
		"purge --admin-socket=x":                                     "nothing is selected: give seqs, webhook or all, such as: receiver dead-letters purge 17 18",
		"purge --reason=refused --admin-socket=x":                    "nothing is selected",
		"purge x --admin-socket=x":                                   `unexpected argument "x"`,
		"purge 1 --all --admin-socket=x":                             "seqs cannot be combined with webhook, all or reason",
		"purge --webhook=a --all --admin-socket=x":                   "webhook cannot be combined with all",
		"purge 1 --reason=refused --admin-socket=x":                  "seqs cannot be combined with webhook, all or reason",
		"purge 1 --admin-socket=" + missing:                          "no receiver answers at " + missing,
		"list --buffer-dir=" + filepath.Dir(missing):                 "no receiver answers at " + missing,
		"purge --recipient=a@b.example --all --admin-socket=x":       "--recipient and --message can be combined with --webhook and --dry-run only",
		"purge 7 --message=1 --admin-socket=x":                       "--recipient and --message can be combined with --webhook and --dry-run only",
		"purge --message=1 --recipient=a@b.example --admin-socket=x": "give a recipient or a message, not both",
		"purge --dry-run --admin-socket=x":                           "nothing is selected",
		"redrive --type=send --admin-socket=x":                       "nothing is selected",
		"redrive 7 --type=send --admin-socket=x":                     "numbers cannot be combined with --type and --since",
		"list --limit=-1 --admin-socket=x":                           "--since and --limit must not be negative",
		"purge --recipient=Ana --admin-socket=x":                     "the recipient must be an address",
		"redrive --recipient=a@b.example --admin-socket=x":           "flag provided but not defined: -recipient",
	} {
		var out bytes.Buffer
		err := run(t.Context(), append([]string{"dead-letters"}, strings.Fields(args)...), unset, &out)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want one with %q", args, err, want)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"dead-letters", "-h"}, unset, &out); err != nil || out.String() != deadLettersUsage {
		t.Errorf("help: %v, %q", err, out.String())
	}
	if err := run(t.Context(), []string{"dead-letters", "purge", "-h"}, unset, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("help of a command: %v", err)
	}
}

// A sink of a running receiver refuses an event: list and show have it, and redrive delivers it once the sink accepts.
func TestDeadLettersOfRunningReceiver(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	verdicts := make(chan int, 1)
	verdicts <- http.StatusUnprocessableEntity
	arrived := make(chan string, 10)
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := <-verdicts
		verdicts <- status
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		arrived <- fmt.Sprint(status, " ", r.Header.Get("Ce-Id"))
	}))
	t.Cleanup(sink.Close)
	config := filepath.Join(folder, "routes.yaml")
	write(t, config, `routes: [{name: shop/a, url: "https://hooks.example.com/a?s3ntinel", keys: [s3ntinel], source: /a, sink: {uri: "`+sink.URL+`/s3ntinel"}}]`)
	p := start(t, nil, "--config", config, "--buffer=embedded", "--buffer-dir", folder, "--buffer-max-bytes=67108864")
	address, _ := p.awaitBoth(t, "Started", "Serving the admin socket")["listen"].(string)
	post := func() int {
		request, err := mandrilltest.NewRequest(t.Context(), "http://"+address+"/a?s3ntinel", "https://hooks.example.com/a?s3ntinel", "s3ntinel", []byte(`[{"event":"send","_id":"s3ntinel"}]`))
		if err != nil {
			t.Fatal(err)
		}
		response, err := loopback.Client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	await(t, "an answer", func() bool { return post() == http.StatusOK }) // when the buffer is open
	refused := <-arrived
	command := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if err := run(t.Context(), append(append([]string{"dead-letters"}, args...), "--buffer-dir", folder), unset, &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	await(t, "a dead letter", func() bool { return command("list") != "no dead letters\n" })
	list := command("list")
	if id := strings.TrimPrefix(refused, "422 "); !strings.Contains(list, id) || strings.Contains(list, sentinel) {
		t.Errorf("got the list\n%swant one with the id %s and no payload", list, id)
	}
	var letter struct{ Data map[string]string }
	if err := json.Unmarshal([]byte(command("show", "1")), &letter); err != nil || letter.Data["_id"] != sentinel {
		t.Errorf("%v: %+v", err, letter)
	}
	<-verdicts
	verdicts <- http.StatusAccepted
	if out := command("redrive", "--all"); out != "redrove 1 dead letter\n" {
		t.Errorf("got %q", out)
	}
	if accepted := <-arrived; accepted != strings.Replace(refused, "422", "202", 1) {
		t.Errorf("%q arrived after %q", accepted, refused)
	}
	if out := command("purge", "--all"); out != "purged 0 dead letters\n" {
		t.Errorf("got %q", out)
	}
	p.stop(t)
	if err := run(t.Context(), []string{"dead-letters", "list", "--buffer-dir", folder}, unset, io.Discard); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("the socket still exists: %v", err)
	}
	if log := p.logged(); strings.Contains(log, sentinel) {
		t.Errorf("the log has a secret:\n%s", log)
	}
}

// await polls until a condition holds.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	poll.True(t, patience, what, condition)
}
