package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// CPUGroup is a cgroup whose processes together may use a part of the processors.
type CPUGroup struct{ path string }

// quotaPeriod is the period of the kernel and of Kubernetes.
const quotaPeriod = 100 * time.Millisecond

// NewCPUGroup makes a cgroup, of version 1 or 2, for a number of processors, such as 0.25. Its weight is high, so that the limit and not
// the other load of the machine bounds its processes.
func NewCPUGroup(processors float64) (*CPUGroup, error) {
	period := strconv.FormatInt(quotaPeriod.Microseconds(), 10)
	quota := strconv.FormatInt(int64(float64(quotaPeriod.Microseconds())*processors), 10)
	root, settings := "/sys/fs/cgroup/cpu", map[string]string{"cpu.cfs_period_us": period, "cpu.cfs_quota_us": quota, "cpu.shares": "65536"}
	if _, err := os.Stat(root); err != nil {
		root, settings = "/sys/fs/cgroup", map[string]string{"cpu.max": quota + " " + period, "cpu.weight": "5000"}
		_ = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+cpu"), 0o600) // it may be there already
	}
	path, err := os.MkdirTemp(root, "mandrill-bench-")
	if err != nil {
		return nil, fmt.Errorf("limiting the processor time of a process needs root and the cpu cgroup: %w", err)
	}
	g := &CPUGroup{path}
	for file, value := range settings {
		if err := os.WriteFile(filepath.Join(path, file), []byte(value), 0o600); err != nil {
			return nil, errors.Join(fmt.Errorf("limiting the processor time of a process needs root and the cpu cgroup: %w", err), g.Remove())
		}
	}
	return g, nil
}

// Command is a command that runs in the cgroup, with the same process id.
func (g *CPUGroup) Command(path string, args ...string) *exec.Cmd {
	return Command("sh", append([]string{"-ec", `echo $$ >"$0/cgroup.procs"; exec "$@"`, g.path, path}, args...)...)
}

// Remove removes the cgroup, in which nothing may run any more. It does nothing for one that was not made.
func (g *CPUGroup) Remove() error {
	if g == nil {
		return nil
	}
	return os.Remove(g.path)
}
