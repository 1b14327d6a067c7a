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

// volume is a small file system that only some processes see: it is in a mount namespace that a process holds.
type volume struct {
	t      *testing.T
	path   string
	holder *exec.Cmd
}

// newVolume mounts one, with mount's options. Where that is not allowed the test is skipped.
func newVolume(t *testing.T, options string) *volume {
	t.Helper()
	v := &volume{t: t, path: t.TempDir()}
	v.holder = exec.Command("unshare", "-m", "sh", "-c", `mount -t tmpfs -o "$1" none "$0" && echo mounted && exec cat`, v.path, options)
	v.holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	errs := &strings.Builder{}
	v.holder.Stderr = errs
	hold, err := v.holder.StdinPipe()
	said, outErr := v.holder.StdoutPipe()
	if err := errors.Join(err, outErr, v.holder.Start()); err != nil {
		t.Skipf("SKIPPED, NOTHING IS KNOWN OF FULL AND READ-ONLY DISKS: mounting needs unshare: %v", err)
	}
	t.Cleanup(func() { _ = hold.Close(); _ = v.holder.Wait() })
	if line, err := bufio.NewReader(said).ReadString('\n'); err != nil || line != "mounted\n" {
		t.Skipf("SKIPPED, NOTHING IS KNOWN OF FULL AND READ-ONLY DISKS: mounting needs root: %s", errs)
	}
	return v
}

// wrap runs something where the volume is seen.
func (v *volume) wrap() []string {
	return []string{"nsenter", "-m", "-t", strconv.Itoa(v.holder.Process.Pid)}
}

func (v *volume) do(command ...string) {
	v.t.Helper()
	command = append(v.wrap(), command...)
	if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		v.t.Fatalf("%q: %v: %s", command, err, output)
	}
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
