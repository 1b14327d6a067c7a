package chaos_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// namespace is a kernel namespace that a child process holds. It disappears with the process, however the test ends.
type namespace struct {
	t       *testing.T
	kind    string // flag of unshare and nsenter: -m for mounts, -n for the network
	pid     int
	release func()
}

// newNamespace creates a namespace and runs a script in it, with some open files. Where that is not permitted it skips the test, and
// says what remains untested.
func newNamespace(t *testing.T, kind, untested string, files []*os.File, script string, args ...string) *namespace {
	t.Helper()
	holder := exec.Command("unshare", append([]string{kind, "sh", "-ec", script + "; echo held; exec cat 3>&-", "sh"}, args...)...)
	holder.ExtraFiles = files
	holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	holder.WaitDelay = time.Second // for what keeps its output open
	errs := &strings.Builder{}
	holder.Stderr = errs
	holderIn, err := holder.StdinPipe()
	holderOut, outErr := holder.StdoutPipe()
	if err := errors.Join(err, outErr, holder.Start()); err != nil {
		t.Skipf("SKIPPED, %s NOT TESTED: unshare is needed: %v", untested, err)
	}
	kill := func() { _ = syscall.Kill(-holder.Process.Pid, syscall.SIGKILL) } // with the program that the script runs
	end := func() {
		defer time.AfterFunc(awaitTimeout, kill).Stop()
		_ = holderIn.Close()
		_ = holder.Wait()
	}
	t.Cleanup(end)
	late := time.AfterFunc(awaitTimeout, kill)
	defer late.Stop()
	if line, err := bufio.NewReader(holderOut).ReadString('\n'); err != nil || line != "held\n" {
		end() // completes errs
		if !late.Stop() {
			t.Fatalf("a namespace was not made in time: %s", errs)
		}
		t.Skipf("SKIPPED, %s NOT TESTED: root and some programs are needed: %s", untested, errs)
	}
	return &namespace{t: t, kind: kind, pid: holder.Process.Pid, release: end}
}

// enter returns the command prefix that runs a program in the namespace.
func (n *namespace) enter() []string { return []string{"nsenter", n.kind, "-t", strconv.Itoa(n.pid)} }

func (n *namespace) run(command ...string) {
	n.t.Helper()
	command = append(n.enter(), command...)
	ctx, cancel := context.WithTimeout(context.Background(), awaitTimeout) // also while the test is cleaned up
	defer cancel()
	process := exec.CommandContext(ctx, command[0], command[1:]...)
	process.WaitDelay = time.Second
	if output, err := process.CombinedOutput(); err != nil {
		n.t.Fatalf("%q: %v: %s", command, err, output)
	}
}

// runInside runs a function of this process whose sockets are to be in the network namespace.
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
		// Ending the thread instead would end the child processes that it started (Pdeathsig).
		if err := unix.Setns(int(outside.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // other goroutines would run in the wrong namespace
		}
	}()
	return do()
}
