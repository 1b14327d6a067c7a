package receiver

import (
	"runtime/debug"
	"testing"
)

func TestGarbageDoesNotGrowWithBodies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		percent, rest, bodies int64
		want                  int
	}{
		"an idle receiver and a large body":   {40, 8 << 20, 64 << 20, 5},    // 4 MiB
		"a backlog and a large body":          {40, 120 << 20, 60 << 20, 26}, // 48 MiB, as without the body
		"a backlog and a body of little size": {40, 120 << 20, 16 << 20, 35}, // 48 MiB
		"never more than without":             {40, 4 << 20, 0, 40},
		"never off":                           {40, 1 << 20, 2 << 30, 1},
	} {
		if got := pacedPercent(c.percent, c.rest, c.bodies); got != c.want {
			t.Errorf("%s: %d %%, want %d", name, got, c.want)
		}
	}
}

// Not parallel: it changes the process.
func TestCollectorIsAsBeforeAfterLargeBodies(t *testing.T) {
	before := debug.SetGCPercent(40)
	defer debug.SetGCPercent(before)
	var p gcPacer
	p.add(pacedBodies - 1)
	if _, percent := heapInUse(); percent != 40 {
		t.Errorf("it is paced for small bodies: %d %%", percent)
	}
	p.add(64 << 20)
	if _, percent := heapInUse(); percent >= 40 {
		t.Errorf("it is not paced for large bodies: %d %%", percent)
	}
	p.add(-64 << 20)
	if _, percent := heapInUse(); percent != 40 {
		t.Errorf("it stays paced: %d %%", percent)
	}
}
