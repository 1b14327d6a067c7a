package chaos_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// namespace is one of the kernel's that a process holds, so it is gone with it, however the test ends.
type namespace struct {
	t    *testing.T
	kind string // as unshare and nsenter call it: -m for mounts, -n for the network
	pid  int
	release  func()
}

// newNamespace makes one, and runs a script in it, with some files. Where that is not allowed the test is skipped, and says
// what is not known for that reason.
func newNamespace(t *testing.T, kind, unknown string, files []*os.File, script string, args ...string) *namespace {
	t.Helper()
	holder := exec.Command("unshare", append([]string{kind, "sh", "-ec", script + "; echo held; exec cat 3>&-", "sh"}, args...)...)
	holder.ExtraFiles = files
	holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	errs := &strings.Builder{}
	holder.Stderr = errs
	hold, err := holder.StdinPipe()
	said, outErr := holder.StdoutPipe()
	if err := errors.Join(err, outErr, holder.Start()); err != nil {
		t.Skipf("SKIPPED, NOTHING IS KNOWN OF %s: it needs unshare: %v", unknown, err)
	}
	end := func() { _ = hold.Close(); _ = holder.Wait() }
	t.Cleanup(end)
	if line, err := bufio.NewReader(said).ReadString('\n'); err != nil || line != "held\n" {
		end() // and errs is complete
		t.Skipf("SKIPPED, NOTHING IS KNOWN OF %s: it needs root, and programs: %s", unknown, errs)
	}
	return &namespace{t: t, kind: kind, pid: holder.Process.Pid, release: end}
}

// wrap runs something in the namespace.
func (n *namespace) enter() []string { return []string{"nsenter", n.kind, "-t", strconv.Itoa(n.pid)} }

func (n *namespace) run(command ...string) {
	n.t.Helper()
	command = append(n.enter(), command...)
	if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		n.t.Fatalf("%q: %v: %s", command, err, output)
	}
}

// inside runs something here of which the sockets are to be in a namespace of the network.
func (n *namespace) runInside(do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	outside, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer outside.Close()
	inside, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", n.pid))
	if err != nil {
		return err
	}
	defer inside.Close()
	if err := unix.Setns(int(inside.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	defer func() {
		// The thread must not end, or the processes would that it has started.
		if err := unix.Setns(int(outside.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // others would be in the wrong place
		}
	}()
	return do()
}
