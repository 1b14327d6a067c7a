package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// The receiver ends at once and says which user may not write where, and what to do. A user who may write everything cannot try
// it, so the program runs as another one then.
func TestDirectoryThatCannotBeWrittenIsAnErrorAtTheStart(t *testing.T) {
	t.Parallel()
	binary, err := built()
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "buffer") //nolint:usetesting // others may enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	config := filepath.Join(folder, "routes.yaml")
	write(t, config, "routes: []")
	copied := filepath.Join(folder, "receiver")
	if err := os.Link(binary, copied); err != nil {
		t.Fatal(err)
	}
	user := os.Getuid()
	if user == 0 {
		user = 65534
	}
	for _, path := range []string{folder, copied, config} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mkdir := func(mode os.FileMode, parts ...string) string {
		path := filepath.Join(append([]string{folder}, parts...)...)
		if err := os.Mkdir(path, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	closed, open := mkdir(0o555, "closed"), mkdir(0o777, "open")
	left := filepath.Join(open, "lock")
	write(t, left, "")
	if err := os.Chmod(left, 0o400); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		closed:                       fmt.Sprintf("--buffer-dir: user %d may not write to %s: in Kubernetes set securityContext.fsGroup", user, closed),
		filepath.Join(closed, "new"): fmt.Sprintf("--buffer-dir: user %d may not write to %s", user, filepath.Join(closed, "new")),
		open:                         fmt.Sprintf("--buffer-dir: user %d may not write to %s", user, left),
		config:                       "--buffer-dir: mkdir " + config + ": not a directory",
	} {
		var stderr bytes.Buffer
		command := exec.CommandContext(t.Context(), copied, "--config", config, "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--buffer=embedded",
			"--buffer-max-bytes=67108864", "--buffer-dir", dir)
		command.Stderr = &stderr
		if os.Getuid() == 0 {
			command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user)}}
		}
		err := command.Run()
		first, rest, _ := strings.Cut(stderr.String(), "\n")
		if err == nil || !strings.Contains(rest, want) || strings.Count(rest, "\n") != 1 {
			t.Errorf("%s: ended with %v and said %q, want the first line of the log and one line with %q", dir, err, stderr.String(), want)
		}
		var starting struct{ Msg, Version string }
		if err := json.Unmarshal([]byte(first), &starting); err != nil || starting.Msg != "Starting" || starting.Version == "" {
			t.Errorf("%s: the first line is %q, want one with the version", dir, first)
		}
	}
}

// The volume of a buffer may have lost+found, which other users may not read, and files of others.
func TestForeignEntriesOfTheVolumeAreLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := checkBufferDir(dir); err != nil {
		t.Fatal(err)
	}
	before, err := engine.VolumeBytes(dir, 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0); err != nil {
		t.Fatal(err)
	}
	foreign, err := os.Create(filepath.Join(dir, "foreign"))
	if err != nil {
		t.Fatal(err)
	}
	if err := foreign.Truncate(1 << 50); err != nil { // takes no space
		t.Skipf("the file system of the test folder has no sparse files of a petabyte: %v", err)
	}
	if err := foreign.Close(); err != nil {
		t.Fatal(err)
	}
	if err := checkBufferDir(dir); err != nil {
		t.Error(err)
	}
	if after, err := engine.VolumeBytes(dir, 100); err != nil || after-before > 1<<40 {
		t.Errorf("the buffer may take %d bytes with a foreign file and %d without, error %v", after, before, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("the directory has %v, error %v", entries, err)
	}
}
