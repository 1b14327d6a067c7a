package chaos_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// namespace is a mount namespace, which a process holds: what is mounted in it is seen by those who enter it, and is gone
// with them and that process, also when the test is killed.
type namespace struct {
	t      *testing.T
	path   string // where something is mounted
	holder *exec.Cmd
	hold   io.Closer
}

// newNamespace makes one, with what a command mounts at its first argument. Where that is not allowed the test is skipped,
// and says what is not known therefore.
func newNamespace(t *testing.T, unknown, path string, files []*os.File, mount string, args ...string) *namespace {
	t.Helper()
	n := &namespace{t: t, path: path}
	n.holder = exec.Command("unshare", append([]string{"-m", "sh", "-c", mount + " && echo mounted && exec cat 3>&-", path}, args...)...)
	n.holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	n.holder.ExtraFiles = files
	errs := &strings.Builder{}
	n.holder.Stderr = errs
	hold, err := n.holder.StdinPipe()
	said, outErr := n.holder.StdoutPipe()
	if err := errors.Join(err, outErr, n.holder.Start()); err != nil {
		t.Skipf("SKIPPED, NOTHING IS KNOWN OF %s: mounting needs unshare: %v", unknown, err)
	}
	n.hold = hold
	t.Cleanup(n.end)
	if line, err := bufio.NewReader(said).ReadString('\n'); err != nil || line != "mounted\n" {
		n.end()
		t.Skipf("SKIPPED, NOTHING IS KNOWN OF %s: mounting needs root: %s", unknown, errs)
	}
	return n
}

// end has the holder end.
func (n *namespace) end() {
	_ = n.hold.Close()
	_ = n.holder.Wait()
}

// wrap runs something where it is mounted.
func (n *namespace) wrap() []string {
	return []string{"nsenter", "-m", "-t", strconv.Itoa(n.holder.Process.Pid)}
}

func (n *namespace) do(command ...string) {
	n.t.Helper()
	command = append(n.wrap(), command...)
	if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		n.t.Fatalf("%q: %v: %s", command, err, output)
	}
}

// volume is a small file system that only some processes see.
type volume struct{ *namespace }

// newVolume mounts one, with mount's options.
func newVolume(t *testing.T, options string) *volume {
	t.Helper()
	return &volume{newNamespace(t, "FULL AND READ-ONLY DISKS", t.TempDir(), nil, `mount -t tmpfs -o "$1" none "$0"`, options)}
}

func (v *volume) remount(options string) {
	v.t.Helper()
	v.do("mount", "-o", "remount,"+options, v.path)
}

// outside is where a file of the volume is for this process.
func (v *volume) outside(name string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", v.holder.Process.Pid), v.path, name)
}

// fill leaves a number of bytes free.
func (v *volume) fill(leave int64) {
	v.t.Helper()
	file, err := os.OpenFile(v.outside("ballast"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		v.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Seek(0, io.SeekEnd); err != nil {
		v.t.Fatal(err)
	}
	for block := make([]byte, 16<<10); v.free() > leave; {
		if _, err := file.Write(block); err != nil {
			if errors.Is(err, syscall.ENOSPC) {
				return
			}
			v.t.Fatal(err)
		}
	}
}

// empty takes away what fill has put there.
func (v *volume) empty() {
	v.t.Helper()
	if err := os.Remove(v.outside("ballast")); err != nil {
		v.t.Fatal(err)
	}
}

func (v *volume) free() int64 {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(v.outside(""), &stat); err != nil {
		v.t.Fatal(err)
	}
	return int64(stat.Bavail) * stat.Bsize
}
