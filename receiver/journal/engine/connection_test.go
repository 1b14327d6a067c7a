package engine

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// Which fields a connection of an embedded server has is what the journal relies on.
func TestEmbeddedConnection(t *testing.T) {
	t.Parallel()
	e := &Embedded{Dir: t.TempDir(), Reserve: 1 << 20, Logger: slog.New(slog.DiscardHandler)}
	connection, err := e.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !connection.Exclusive || connection.Failed == nil || connection.SyncDirs == nil || connection.SyncDir == nil || connection.Reserve == nil {
		t.Errorf("an embedded server needs what %+v lacks", connection)
	}
	if connection.Partitioned != nil || connection.Repairs.Damaged != 0 || connection.Repairs.Skipped != nil {
		t.Errorf("%+v has what does not apply to a new embedded server", connection)
	}
	if err := connection.SyncDirs(); err != nil {
		t.Error(err)
	}
	if err := connection.SyncDir("missing"); err == nil {
		t.Error("the directory of a stream that does not exist was synced")
	}
	if _, err := (&Embedded{Dir: e.Dir, Logger: e.Logger}).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opening the directory twice: %v", err)
	}
	connection.Close()
	cluster := &Cluster{Dir: e.Dir, Logger: e.Logger}
	if _, err := cluster.Open(t.Context()); !errors.As(err, new(*ConfigError)) {
		t.Errorf("opening the directory with another engine: %v, want a ConfigError", err)
	}
	if connection, err = e.Open(t.Context()); err != nil {
		t.Fatalf("opening it again: %v", err)
	}
	connection.Close()
}

// Times that depend on each other.
func TestTimes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reason string
		holds  bool
	}{
		{"some heartbeats may be lost before a member counts as partitioned", HeartbeatTimeout >= 3*HeartbeatInterval},
		{"a partition is noticed before the server closes the route", HeartbeatTimeout < RoutePing*RoutePings},
		{"a handshake may take as long as a ping", routeTimeout <= RoutePing},
		{"health is checked several times before a member is restarted", 3*HealthInterval < UnhealthyTimeout},
		{"a member that joins late is not restarted at once", JoinTimeout < UnhealthyTimeout},
		{"all servers are tried before a lost connection counts", ReconnectWait < ClientPing},
		{"a server recovers before the start is given up", startTimeout > JoinTimeout},
	} {
		if !test.holds {
			t.Error(test.reason)
		}
	}
}
