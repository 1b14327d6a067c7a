package chaos_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// memoryCgroup is a cgroup with a memory limit.
type memoryCgroup struct {
	path string
	v2   bool
}

// newMemoryCgroup makes a cgroup. Where that is not permitted it skips the test, and says what remains untested.
func newMemoryCgroup(t *testing.T, limit int, untested string) *memoryCgroup {
	t.Helper()
	c := &memoryCgroup{path: "/sys/fs/cgroup/memory"}
	limits := map[string]string{"memory.limit_in_bytes": strconv.Itoa(limit)}
	if _, err := os.Stat(c.path); err != nil {
		c.path, c.v2, limits = "/sys/fs/cgroup", true, map[string]string{"memory.max": strconv.Itoa(limit), "memory.swap.max": "0"}
		_ = os.WriteFile(filepath.Join(c.path, "cgroup.subtree_control"), []byte("+memory"), 0o600) // it may be there already
	}
	c.path = filepath.Join(c.path, fmt.Sprintf("mandrill-chaos-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err := os.Mkdir(c.path, 0o700); err != nil {
		t.Skipf("SKIPPED, %s NOT TESTED: root and a memory cgroup are needed: %v", untested, err)
	}
	t.Cleanup(func() { _ = os.Remove(c.path) })
	for file, value := range limits {
		err := os.WriteFile(filepath.Join(c.path, file), []byte(value), 0o600)
		if err != nil && (file != "memory.swap.max" || !errors.Is(err, os.ErrNotExist)) {
			t.Skipf("SKIPPED, %s NOT TESTED: the limit of the cgroup cannot be set: %v", untested, err)
		}
	}
	return c
}

// enter returns the command prefix that runs a program in the cgroup.
func (c *memoryCgroup) enter() []string {
	return []string{"sh", "-ec", `echo $$ > "$0/cgroup.procs"; exec "$@"`, c.path}
}

// peak returns the most memory that was used, 0 if that is not known.
func (c *memoryCgroup) peak() int {
	name := "memory.max_usage_in_bytes"
	if c.v2 {
		name = "memory.peak"
	}
	data, _ := os.ReadFile(filepath.Join(c.path, name))
	bytes, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return bytes
}
