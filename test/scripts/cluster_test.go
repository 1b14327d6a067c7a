package scripts_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A machine that cannot run pods says what it lacks: for make ci, which leaves the end-to-end tests out, and for people, with what to do.
func TestClusterSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("../../hack/cluster/cluster.sh")
	if err != nil {
		t.Fatal(err)
	}
	root := project(t, map[string]string{
		"hack/cluster/cluster.sh": string(script),
		"bin/id":                  "#!/bin/sh\n[ \"$1\" = -un ] && echo somebody || echo 1000\n",
	})
	path := []string{"PATH=" + filepath.Join(root, "bin") + ":" + os.Getenv("PATH")}
	const want = "containers need root, and this is the user somebody\n"
	if stdout, stderr, err := run(t, root, path, "cluster/cluster.sh", "lacks"); err != nil || stdout != want || stderr != "" {
		t.Errorf("got %q, %q, %v, want %q", stdout, stderr, err, want)
	}
	if _, stderr, err := run(t, root, path, "cluster/cluster.sh", "up"); err == nil || !strings.HasSuffix(stderr, want) || !strings.Contains(stderr, "E2E_KUBECONFIG") {
		t.Errorf("up: %v, %q", err, stderr)
	}
	if _, _, err := run(t, root, path, "cluster/cluster.sh", "runs"); err == nil {
		t.Error("a cluster runs that nobody has started")
	}
}
