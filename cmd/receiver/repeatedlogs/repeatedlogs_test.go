package repeatedlogs

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A fault that is tried again every few seconds takes less than a kilobyte of log a minute, whatever part logs it, and is news
// again after it was gone.
func TestRepeatedFaultsTakeLittleLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Unix(0, 0)
	logger := slog.New(New(slog.NewJSONHandler(&out, nil), func() time.Time { return now }))
	for minute := range 24 * 60 {
		before := out.Len()
		for range 12 { // as the buffer, which is opened again every five seconds
			logger.Error("The buffer does not work, opening it again", "error", "opening the buffer: no space left on device")
			for secret := range 8 { // as the watches of the routes Secrets
				logger.Warn("Could not watch a routes Secret, the last good routes stay", "secret", "routes-"+strconv.Itoa(secret), "error", "connection refused")
			}
			now = now.Add(5 * time.Second)
		}
		if grown := out.Len() - before; minute > 2 && grown > 2<<10 {
			t.Fatalf("minute %d has %d bytes of log", minute, grown)
		}
	}
	if perMinute := out.Len() / (24 * 60); perMinute > 50 {
		t.Errorf("a day has %d bytes of log a minute", perMinute)
	}
	if !strings.Contains(out.String(), `"repeated":`) {
		t.Error("the log does not say how often a line was left out")
	}
	out.Reset()
	if now = now.Add(3 * time.Minute); true {
		logger.Error("The buffer does not work, opening it again", "error", "opening the buffer: no space left on device")
	}
	logger.Error("The buffer does not work, opening it again", "error", "another")
	logger.Info("The buffer is available")
	logger.Info("The buffer is available")
	for range 3 {
		logger.With("a", 1).WithGroup("g").Warn("Answered a request", "outcome", "signature")
	}
	if lines := strings.Count(out.String(), "\n"); lines != 7 {
		t.Errorf("got %d lines, want the fault that is back, another one, and those that are no faults:\n%s", lines, out.String())
	}
	out.Reset()
	for i := range 10 * maxLogTexts {
		logger.Warn("Many", "n", i)
	}
	if lines := strings.Count(out.String(), "\n"); lines != 10*maxLogTexts {
		t.Errorf("%d of %d different lines were logged", lines, 10*maxLogTexts)
	}
}
