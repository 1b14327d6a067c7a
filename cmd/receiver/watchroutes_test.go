package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// The watch of the routes Secrets is silent while nothing can be reached.
func TestMissingRoutesAreReported(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	tick := make(chan time.Time, 3)
	for range 3 {
		tick <- time.Time{}
	}
	asked := 0
	reportMissingRoutes(t.Context(), func() bool { asked++; return asked == 3 }, tick, logger)
	if lines := strings.Count(out.String(), "Found no routes yet"); lines != 2 || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("got %d lines until there were routes, want 2:\n%s", lines, out.String())
	}
}
