package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
)

// unpacked is where hack/examples.sh unpacks packages of Debian that the machine does not have.
const unpacked = root + "/bin/debian"

func newLog() *logbuffer.Buffer { return &logbuffer.Buffer{} }

// findProgram returns the path of a program of Debian. The test is skipped where there is none.
func findProgram(t *testing.T, what, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, folder := range []string{"", unpacked} {
		for _, pattern := range []string{"/usr/sbin/", "/usr/bin/", "/usr/lib/postgresql/*/bin/"} {
			found, err := filepath.Glob(folder + pattern + name)
			if err != nil {
				t.Fatal(err)
			}
			if len(found) > 0 {
				path, err := filepath.Abs(found[len(found)-1])
				if err != nil {
					t.Fatal(err)
				}
				return path
			}
		}
	}
	t.Skipf("SKIPPED, %s NOT TESTED: there is no %s: hack/examples.sh downloads it from Debian", what, name)
	return ""
}

// libraries returns the environment in which programs find the libraries that were unpacked with them.
func libraries() []string {
	var folders []string
	for _, pattern := range []string{"/usr/lib/*-linux-gnu", "/usr/lib/*-linux-gnu/systemd"} {
		found, _ := filepath.Glob(unpacked + pattern) // the pattern is correct
		for _, folder := range found {
			if absolute, err := filepath.Abs(folder); err == nil {
				folders = append(folders, absolute)
			}
		}
	}
	if len(folders) == 0 {
		return os.Environ()
	}
	return append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(append(folders, os.Getenv("LD_LIBRARY_PATH")), ":"))
}
