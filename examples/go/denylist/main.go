// The denylist consumer keeps a copy of Mandrill's denylist, in PostgreSQL or SQLite.
//
// The receiver sends the changes of one address in the order in which Mandrill sent them, so it is enough to apply them as they come. Only
// an event that somebody redrives from the dead letters, after later ones of its address, comes out of order. The time of the last
// change tells it: an older change is ignored. For that, a removed entry stays in the table.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/mandrill-operator/mandrill-operator/events"
	"github.com/mandrill-operator/mandrill-operator/examples/go/database"
	"github.com/mandrill-operator/mandrill-operator/examples/go/receive"
)

// An account has an entry of its own for an address and a subaccount; the empty subaccount means all.
const table = `denylist (email text, subaccount text, reason text NOT NULL, detail text NOT NULL,
	removed boolean NOT NULL, changed_at bigint NOT NULL, PRIMARY KEY (email, subaccount))`

// set makes or replaces an entry. Changes with the same time are applied in the order of their arrival.
const set = `INSERT INTO denylist (email, subaccount, reason, detail, removed, changed_at) VALUES ($1, $2, $3, $4, $5, $6)
	ON CONFLICT (email, subaccount) DO UPDATE SET
	reason = excluded.reason, detail = excluded.detail, removed = excluded.removed, changed_at = excluded.changed_at
	WHERE excluded.changed_at >= denylist.changed_at`

func main() {
	listen := flag.String("listen", ":8080", "address to receive events at; GET returns the denylist")
	name := flag.String("database", "denylist.db", "postgres://USER:PASSWORD@HOST/DATABASE, or a file for SQLite")
	flag.Parse()
	if err := run(context.Background(), *listen, *name); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, listen, name string) error {
	db, err := database.Open(ctx, name, table)
	if err != nil {
		return err
	}
	defer db.Close()
	apply := func(ctx context.Context, ce event.Event) error { return mirror(ctx, db, ce) }
	return receive.Serve(listen, receive.Handler(apply), show(db))
}

// mirror applies a change of the denylist, and ignores other events.
func mirror(ctx context.Context, db *sql.DB, ce event.Event) error {
	parsed, err := events.Parse(ce)
	if err != nil {
		log.Printf("event %q of %q is ignored: %v", ce.ID(), ce.Type(), err)
		return nil
	}
	switch change := parsed.(type) {
	case *events.DenylistAdd:
		return store(ctx, db, change.DenylistEvent, false)
	case *events.DenylistChange:
		return store(ctx, db, change.DenylistEvent, false)
	case *events.DenylistRemove:
		return store(ctx, db, change.DenylistEvent, true)
	}
	return nil
}

func store(ctx context.Context, db *sql.DB, change events.DenylistEvent, removed bool) error {
	entry, at := change.Entry, change.TS.Time
	if at.IsZero() { // Mandrill always sent one so far
		at = time.Now()
	}
	_, err := db.ExecContext(ctx, set, strings.ToLower(entry.Email), entry.Subaccount, entry.Reason, entry.Detail, removed, at.Unix())
	return err
}

type entry struct {
	Email      string `json:"email"`
	Subaccount string `json:"subaccount,omitempty"`
	Reason     string `json:"reason"`
	Detail     string `json:"detail,omitempty"`
}

// show answers with the denylist.
func show(db *sql.DB) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		list, err := read(r.Context(), db)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(list)
	})
}

func read(ctx context.Context, db *sql.DB) ([]entry, error) {
	rows, err := db.QueryContext(ctx, "SELECT email, subaccount, reason, detail FROM denylist WHERE NOT removed ORDER BY email, subaccount")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []entry{}
	for rows.Next() {
		var e entry
		if err := rows.Scan(&e.Email, &e.Subaccount, &e.Reason, &e.Detail); err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, rows.Err()
}
