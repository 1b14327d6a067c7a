// Package database opens a database: the examples work with PostgreSQL and with SQLite.
package database

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	_ "github.com/lib/pq" // the driver "postgres"
	_ "modernc.org/sqlite"
)

// Open opens PostgreSQL by its URL, or the SQLite database in a file, and makes its tables.
func Open(ctx context.Context, name string, tables ...string) (*sql.DB, error) {
	driver := "sqlite"
	if strings.HasPrefix(name, "postgres://") {
		driver = "postgres"
	} else {
		name = "file:" + name + "?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		return nil, err
	}
	if driver == "sqlite" {
		db.SetMaxOpenConns(1) // SQLite has one writer at a time: let the others wait here instead of failing
	}
	for _, table := range tables {
		if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+table); err != nil {
			return nil, fmt.Errorf("making the tables: %w", err)
		}
	}
	return db, nil
}
