// The idempotent consumer counts the events of each type, in PostgreSQL or SQLite. It counts each event once, however often it arrives.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/mandrill-operator/mandrill-operator/examples/go/database"
	"github.com/mandrill-operator/mandrill-operator/examples/go/receive"
)

// remember is how long the ids are kept: as long as the receiver keeps dead letters, which somebody may redrive.
const remember = 30 * 24 * time.Hour

func main() {
	listen := flag.String("listen", ":8080", "address to receive events at; GET returns the counts")
	name := flag.String("database", "events.db", "postgres://USER:PASSWORD@HOST/DATABASE, or a file for SQLite")
	flag.Parse()
	if err := run(context.Background(), *listen, *name); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, listen, name string) error {
	db, err := database.Open(ctx, name,
		"processed_events (source text, id text, received_at bigint NOT NULL, PRIMARY KEY (source, id))",
		"event_counts (type text PRIMARY KEY, count bigint NOT NULL)",
	)
	if err != nil {
		return err
	}
	defer db.Close()
	go forget(ctx, db)
	count := func(ctx context.Context, ce event.Event) error { return once(ctx, db, ce, countType) }
	return receive.Serve(listen, receive.Handler(count), show(db))
}

// once runs effect for an event that has not been processed before. The id and the effect are in one transaction, so either both are
// stored, or none. Two requests with one event wait for each other at the INSERT.
func once(ctx context.Context, db *sql.DB, ce event.Event, effect func(context.Context, *sql.Tx, event.Event) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	result, err := tx.ExecContext(ctx,
		"INSERT INTO processed_events (source, id, received_at) VALUES ($1, $2, $3) ON CONFLICT (source, id) DO NOTHING",
		ce.Source(), ce.ID(), time.Now().Unix())
	if err != nil {
		return err
	}
	if inserted, err := result.RowsAffected(); err != nil || inserted == 0 {
		return err // without an error, it was processed before
	}
	if err := effect(ctx, tx, ce); err != nil {
		return err
	}
	return tx.Commit()
}

func countType(ctx context.Context, tx *sql.Tx, ce event.Event) error {
	_, err := tx.ExecContext(ctx,
		"INSERT INTO event_counts (type, count) VALUES ($1, 1) ON CONFLICT (type) DO UPDATE SET count = event_counts.count + 1", ce.Type())
	return err
}

// forget removes ids that are too old to come again, once an hour.
func forget(ctx context.Context, db *sql.DB) {
	for range time.Tick(time.Hour) {
		if _, err := db.ExecContext(ctx, "DELETE FROM processed_events WHERE received_at < $1", time.Now().Add(-remember).Unix()); err != nil {
			log.Print(err)
		}
	}
}

// show answers with the counts.
func show(db *sql.DB) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counts, err := read(r.Context(), db)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(counts)
	})
}

func read(ctx context.Context, db *sql.DB) (map[string]int64, error) {
	rows, err := db.QueryContext(ctx, "SELECT type, count FROM event_counts")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	counts := map[string]int64{}
	for rows.Next() {
		var name string
		var count int64
		if err := rows.Scan(&name, &count); err != nil {
			return nil, fmt.Errorf("reading the counts: %w", err)
		}
		counts[name] = count
	}
	return counts, rows.Err()
}
