package scripts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The archive of kubectl-mandrill has the program, krew's own check accepts the manifest, and a second build is the same.
func TestArchivesForKrew(t *testing.T) {
	t.Parallel()
	platform := runtime.GOOS + "/" + runtime.GOARCH
	build := func() string {
		t.Helper()
		dist := t.TempDir()
		environment := []string{"DIST=" + dist, "VERSION=v1.2.3", "COMMIT=abc", "SOURCE_DATE_EPOCH=1700000000", "CLI_PLATFORMS=" + platform}
		if out, errOut, err := run(t, "../..", environment, "archives.sh"); err != nil {
			t.Fatalf("%v\n%s%s", err, out, errOut)
		}
		return filepath.Join(dist, "cli")
	}
	folder := build()
	archive := filepath.Join(folder, "kubectl-mandrill_v1.2.3_"+strings.ReplaceAll(platform, "/", "_")+".tar.gz")
	unpacked := t.TempDir()
	if output, err := exec.CommandContext(t.Context(), "tar", "-xzf", archive, "-C", unpacked).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	output, err := exec.CommandContext(t.Context(), filepath.Join(unpacked, "kubectl-mandrill"), "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(output), "kubectl-mandrill v1.2.3 (commit abc") {
		t.Errorf("version: %v, %s", err, output)
	}
	manifest, err := os.ReadFile(filepath.Join(folder, "mandrill.yaml"))
	if err != nil || !strings.Contains(string(manifest), "version: v1.2.3") {
		t.Errorf("manifest: %v\n%s", err, manifest)
	}
	first, err := os.ReadFile(filepath.Join(folder, "checksums.txt"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(filepath.Join(build(), "checksums.txt"))
	if err != nil || string(second) != string(first) {
		t.Errorf("two builds differ: %v\n%s%s", err, first, second)
	}
}
