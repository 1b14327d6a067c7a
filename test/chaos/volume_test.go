package chaos_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// volume is a small file system in a mount namespace.
type volume struct {
	*namespace
	path string
}

// newVolume mounts a volume with mount's options. Where that is not permitted it skips the test.
func newVolume(t *testing.T, options string) *volume {
	t.Helper()
	path := t.TempDir()
	mounted := newNamespace(t, "-m", "FULL AND READ-ONLY DISKS", nil, `mount -t tmpfs -o "$2" none "$1"`, path, options)
	return &volume{namespace: mounted, path: path}
}

func (v *volume) remount(options string) {
	v.t.Helper()
	v.run("mount", "-o", "remount,"+options, v.path)
}

// hostPath returns the path of a file of the volume for this process.
func (v *volume) hostPath(name string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", v.pid), v.path, name)
}

// fill writes a ballast file that leaves a number of bytes free.
func (v *volume) fill(leave int64) {
	v.t.Helper()
	file, err := os.OpenFile(v.hostPath("ballast"), os.O_CREATE|os.O_WRONLY, 0o600)
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

// removeBallast removes the file of fill.
func (v *volume) removeBallast() {
	v.t.Helper()
	if err := os.Remove(v.hostPath("ballast")); err != nil {
		v.t.Fatal(err)
	}
}

func (v *volume) free() int64 {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(v.hostPath(""), &stat); err != nil {
		v.t.Fatal(err)
	}
	return int64(stat.Bavail) * stat.Bsize
}
