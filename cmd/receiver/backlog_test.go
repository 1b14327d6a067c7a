package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// fakeBacklog is a journal with a backlog in memory. It returns two batches per page.
type fakeBacklog struct {
	*fakeDeadLetters
	batches []journal.WaitingBatch
	full    bool
}

func newFakeBacklog() *fakeBacklog {
	received := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	batch := func(position journal.Position, webhook string, events int) journal.WaitingBatch {
		return journal.WaitingBatch{Position: position, Webhook: webhook, ID: "id" + position.String(), Events: events, Stored: 100, Received: received}
	}
	return &fakeBacklog{fakeDeadLetters: newFakeDeadLetters(), batches: []journal.WaitingBatch{
		batch(journal.Position{Remainder: true, Seq: 4}, "shop/a", 2), batch(journal.Position{Seq: 17}, "shop/a", 1000), batch(journal.Position{Seq: 18}, "shop/bb", 1),
	}}
}

func (f *fakeBacklog) Backlog(_ context.Context, webhook string, after *journal.Position, _ int) (page []journal.WaitingBatch, next *journal.Position, err error) {
	passed := after == nil
	for _, batch := range f.batches {
		if passed && (webhook == "" || webhook == batch.Webhook) {
			if len(page) == 2 {
				return page, &page[1].Position, nil
			}
			page = append(page, batch)
		}
		passed = passed || batch.Position == *after
	}
	return page, nil, nil
}

func (f *fakeBacklog) Waiting(_ context.Context, position journal.Position) (journal.WaitingBatch, []byte, error) {
	for _, batch := range f.batches {
		if batch.Position == position {
			return batch, []byte(`[{"event": "send"}]`), nil
		}
	}
	return journal.WaitingBatch{}, nil, journal.ErrNotFound
}

func (f *fakeBacklog) Drop(_ context.Context, positions []journal.Position) (removed journal.Removed, err error) {
	for _, position := range positions {
		at := slices.IndexFunc(f.batches, func(batch journal.WaitingBatch) bool { return batch.Position == position })
		switch {
		case at < 0:
			removed.Missing = append(removed.Missing, position)
		case f.full && removed.Batches == 1:
			return removed, journal.ErrFull
		default:
			removed.Batches, removed.Events = removed.Batches+1, removed.Events+f.batches[at].Events
			f.batches = slices.Delete(f.batches, at, at+1)
		}
	}
	return removed, nil
}

func (f *fakeBacklog) SetAside(ctx context.Context, positions []journal.Position) (journal.Removed, error) {
	return f.Drop(ctx, positions)
}

// serveBacklog serves it at a socket, as a receiver does.
func serveBacklog(t *testing.T, f *fakeBacklog) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "admin.sock")
	listener, err := listenOn(t, socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: adminHandler(f, nil, slog.New(slog.DiscardHandler))}}
	server.Start()
	t.Cleanup(server.Close)
	return socket
}

const backlogJSON = `[
  {"position":"remainder:4","webhook":"shop/a","id":"idremainder:4","events":2,"storedBytes":100,"received":"2026-01-02T03:04:05Z"},
  {"position":"batch:17","webhook":"shop/a","id":"idbatch:17","events":1000,"storedBytes":100,"received":"2026-01-02T03:04:05Z"}
]
`

const backlogTable = `POSITION      WEBHOOK   EVENTS   BYTES   RECEIVED   ID
remainder:4   shop/a    2        100     3h         idremainder:4
batch:17      shop/a    1000     100     3h         idbatch:17
batch:18   shop/bb   1   100   3h   idbatch:18
`

const backlogShown = `{
  "position": "batch:17",
  "webhook": "shop/a",
  "id": "idbatch:17",
  "events": 1000,
  "storedBytes": 100,
  "received": "2026-01-02T03:04:05Z",
  "size": 19,
  "data": [{"event": "send"}]
}
`

func TestBacklog(t *testing.T) {
	t.Parallel()
	for args, test := range map[string]struct {
		full      bool
		want, err string
		left      int
	}{
		"list":                                {want: backlogTable, left: 3},
		"list --output json --webhook shop/a": {want: backlogJSON, left: 3},
		"list --webhook shop/c":               {want: "nothing waits\n", left: 3},
		"list --output json --webhook shop/c": {want: "[]\n", left: 3},
		"show batch:17":                       {want: backlogShown, left: 3},
		"show batch:4":                        {err: "nothing waits at batch:4; it may have been delivered, or replaced by its remainder", left: 3},
		"drop batch:17":                       {want: "dropped 1 batch with 1000 events\n", left: 2},
		"drop remainder:4 batch:18":           {want: "dropped 2 batches with 3 events\n", left: 1},
		"drop batch:9 batch:18 remainder:8":   {want: "dropped 1 batch with 1 event\n", err: "nothing waits at batch:9, remainder:8;", left: 2},
		"list --since 1h":                     {want: "nothing waits\n", left: 3},
		"list --type open":                    {want: "nothing waits\n", left: 3},
		"list --type send":                    {want: backlogTable, left: 3},
		"list --type com.mandrill.message.send --limit 2 --output json": {want: backlogJSON, left: 3},
		"drop --webhook shop/a":                 {want: "dropped 2 batches with 1002 events\n", left: 1},
		"drop --webhook shop/a --since 1h":      {want: "dropped 0 batches with 0 events\n", left: 3},
		"drop --all --dry-run":                  {want: "would have dropped 3 batches with 1003 events\n", left: 3},
		"drop --dry-run batch:17 batch:9":       {want: "would have dropped 1 batch with 1000 events\n", err: "nothing waits at batch:9;", left: 3},
		"set-aside --webhook shop/bb --dry-run": {want: "would have set aside 1 batch with 1 event\n", left: 3},
		"set-aside --all --since 4h":            {want: "set aside 3 batches with 1003 events\n", left: 0},
		"set-aside batch:17 batch:18":           {want: "set aside 2 batches with 1001 events\n", left: 1},
		"set-aside batch:18 batch:17":           {full: true, want: "set aside 1 batch with 1 event\n", err: journal.ErrFull.Error(), left: 2},
	} {
		words := append(strings.Fields(args), "--admin-socket=x")
		for name, open := range map[string]func(*fakeBacklog) backlogStore{
			"socket": func(f *fakeBacklog) backlogStore {
				client, err := newSocketClient(serveBacklog(t, f))
				if err != nil {
					t.Fatal(err)
				}
				return client
			},
			"journal": func(f *fakeBacklog) backlogStore { return journalBacklog{f} },
		} {
			f := newFakeBacklog()
			f.full = test.full
			var out bytes.Buffer
			command, err := newBacklogCommand(words, &out)
			if err == nil {
				command.now = func() time.Time { return time.Date(2026, 1, 2, 6, 4, 5, 0, time.UTC) }
				err = command.do(command, t.Context(), open(f))
			}
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s, %s: got error %v, want one with %q", name, args, err, test.err)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" || len(f.batches) != test.left {
				t.Errorf("%s, %s: %d are left, want %d (-want +got):\n%s", name, args, len(f.batches), test.left, diff)
			}
		}
	}
}

func TestBacklogRefuses(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "admin.sock")
	for args, want := range map[string]string{
		"":                                             "give one of list, show, drop and set-aside after backlog",
		"purge":                                        "give one of list, show, drop and set-aside after backlog",
		"list":                                         "give the --buffer-dir DIR or --admin-socket PATH of the running receiver",
		"list --admin-socket=x --buffer=y":             "give one of --buffer-dir, --admin-socket and --buffer",
		"list --buffer=embedded":                       "--buffer must be embedded, cluster or URLs",
		"list --output=yaml --admin-socket=x":          "--output must be table or json",
		"list batch:1 --admin-socket=x":                `unexpected argument "batch:1"`,
		"list --admin-socket=" + missing:               "no receiver answers at " + missing,
		"show --admin-socket=x":                        "give the position of one batch",
		"show batch:1 batch:2 --buffer-dir=x":          "give the position of one batch",
		"show 17 --admin-socket=x":                     `"17" is no position: want one that list shows, such as batch:17 or remainder:4`,
		"drop --admin-socket=x":                        "give positions that list shows, such as: receiver backlog drop batch:17",
		"drop letter:1 --admin-socket=x":               `"letter:1" is no position`,
		"drop --since=1h --buffer-dir=x":               "--since needs --webhook or --all",
		"drop --all --webhook=shop/a --buffer-dir=x":   "give one of --webhook and --all",
		"drop batch:1 --webhook=shop/a --buffer-dir=x": "give positions, or --webhook or --all",
		"set-aside batch:1 --since=1h --buffer-dir=x":  "give positions, or --webhook or --all",
		"drop --all --type=send --buffer-dir=x":        "--type is for list: a batch may have events of several types, and drop takes all of it",
		"list --reason=refused --buffer-dir=x":         "--reason is for receiver dead-letters: what waits has not been given up",
		"show batch:1 --since=1h --buffer-dir=x":       "since",
		"set-aside --buffer-dir=x":                     "such as: receiver backlog set-aside batch:17",
	} {
		err := run(t.Context(), append([]string{"backlog"}, strings.Fields(args)...), unset, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want one with %q", args, err, want)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"backlog", "-h"}, unset, &out); err != nil || out.String() != backlogUsage {
		t.Errorf("help: %v, %q", err, out.String())
	}
	if err := run(t.Context(), []string{"backlog", "drop", "-h"}, unset, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("help of a command: %v", err)
	}
}

// What administrators ask of the socket is checked there, too.
func TestBacklogRequests(t *testing.T) {
	t.Parallel()
	for request, want := range map[string]int{
		"GET /backlog": http.StatusOK,
		"GET /backlog?webhook=shop/a&after=batch:17&limit=500": http.StatusOK,
		"GET /backlog?limit=501":                               http.StatusBadRequest,
		"GET /backlog?after=17":                                http.StatusBadRequest,
		"GET /backlog?reason=refused":                          http.StatusBadRequest,
		"GET /backlog/batch:17":                                http.StatusOK,
		"GET /backlog/17":                                      http.StatusBadRequest,
		"GET /backlog/batch:99":                                http.StatusNotFound,
		`POST /backlog/drop {"positions":["batch:17"]}`:        http.StatusOK,
		`POST /backlog/set-aside {"positions":["batch:18"]}`:   http.StatusOK,
		`POST /backlog/drop {"positions":[]}`:                  http.StatusBadRequest,
		`POST /backlog/drop {"positions":["17"]}`:              http.StatusBadRequest,
		`POST /backlog/drop {"all":true}`:                      http.StatusBadRequest,
		`POST /backlog/drop {"positions":["batch:1"` + strings.Repeat(`,"batch:1"`, 500) + `]}`: http.StatusBadRequest,
		"POST /backlog":     http.StatusMethodNotAllowed,
		"GET /dead-letters": http.StatusOK,
		`POST /erasures {"recipient":"ana@example.com"}`: http.StatusAccepted,
		`POST /erasures {"recipient":"Ana"}`:             http.StatusBadRequest,
		"GET /nothing":                                   http.StatusNotFound,
	} {
		words := strings.SplitN(request, " ", 3)
		body := ""
		if len(words) == 3 {
			body = words[2]
		}
		handler := adminHandler(newFakeBacklog(), nil, slog.New(slog.DiscardHandler)) // no request depends on another one
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), words[0], words[1], strings.NewReader(body)))
		if response.Code != want {
			t.Errorf("%.60s: got %d, want %d", request, response.Code, want)
		}
	}
}
