// Package scripts_test runs the scripts in hack that decide something, in projects made for the test.
package scripts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// project makes a folder with the named files and a copy of hack's scripts.
func project(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	scripts, err := filepath.Glob("../../hack/*.sh")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts: ", err)
	}
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, "hack", filepath.Base(path)), string(text))
	}
	for name, text := range files {
		write(t, filepath.Join(root, name), text)
	}
	return root
}

// write writes an executable file.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o750); err != nil {
		t.Fatal(err)
	}
}

// run runs a script of a project. Of the environment only what Go needs is kept.
func run(t *testing.T, root string, environment []string, script string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(root, "hack", script), args...)
	var out, errOut strings.Builder
	command.Stdout, command.Stderr = &out, &errOut
	for _, name := range []string{"PATH", "HOME", "GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOFLAGS", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			command.Env = append(command.Env, name+"="+value)
		}
	}
	command.Env = append(command.Env, "CGO_ENABLED=0")
	command.Env = append(command.Env, environment...)
	err = command.Run()
	return out.String(), errOut.String(), err
}

func fuzzTarget(folder, name string) string {
	return "package " + folder + "\n\nimport \"testing\"\n\nfunc " + name + "(f *testing.F) { f.Fuzz(func(*testing.T, []byte) {}) }\n"
}

func fuzzed(t *testing.T) string {
	t.Helper()
	return project(t, map[string]string{
		"go.mod":                "module example.com/fuzzed\n\ngo 1.26.0\n",
		"outer/outer_test.go":   fuzzTarget("outer", "FuzzOuter"),
		"outer/inner/fuzz.go":   "package inner\n",
		"outer/inner/f_test.go": fuzzTarget("inner", "FuzzInner"),
	})
}

// Each target runs once, in its own package: go test -fuzz succeeds in another one, where there is nothing to run.
func TestFuzz(t *testing.T) {
	t.Parallel()
	stdout, stderr, err := run(t, fuzzed(t), nil, "fuzz.sh", "1x")
	if err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	for _, want := range []string{
		"== example.com/fuzzed/outer FuzzOuter\n", "== example.com/fuzzed/outer/inner FuzzInner\n", "\n2 fuzz targets ran for 1x each\n",
	} {
		if strings.Count(stdout, want) != 1 {
			t.Errorf("the output does not have %q once:\n%s", want, stdout)
		}
	}
	if got := strings.Count(stdout, "== "); got != 2 {
		t.Errorf("%d runs of 2 targets:\n%s", got, stdout)
	}
}

func TestFuzzOne(t *testing.T) {
	t.Parallel()
	root := fuzzed(t)
	if stdout, stderr, err := run(t, root, nil, "fuzz.sh", "1x", "FuzzInner"); err != nil || !strings.Contains(stdout, "\n1 fuzz targets ran") {
		t.Errorf("one target: %v\n%s%s", err, stdout, stderr)
	}
	if _, stderr, err := run(t, root, nil, "fuzz.sh", "1x", "FuzzNothing"); err == nil || !strings.Contains(stderr, "there is no fuzz target FuzzNothing") {
		t.Errorf("a target that does not exist: %v\n%s", err, stderr)
	}
}

// A target that no test program has, for a build tag, is not passed over in silence.
func TestFuzzUnlisted(t *testing.T) {
	t.Parallel()
	root := fuzzed(t)
	write(t, filepath.Join(root, "outer/tagged_test.go"), "//go:build never\n\n"+fuzzTarget("outer", "FuzzTagged"))
	if _, stderr, err := run(t, root, nil, "fuzz.sh", "1x"); err == nil || !strings.Contains(stderr, "the sources have 3 fuzz targets, go test lists 2") {
		t.Errorf("it did not fail as it should: %v\n%s", err, stderr)
	}
}

// assets makes a project whose script builds nothing, and a store of setup-envtest with the given versions.
func assets(t *testing.T, versions ...string) (root, store string) {
	t.Helper()
	root = project(t, map[string]string{
		"go.mod":                "module example.com/assets\n\nrequire (\n\tk8s.io/client-go v0.37.2\n)\n",
		"hack/cluster/build.sh": "#!/bin/sh\necho built: \"$@\"\n",
	})
	store = t.TempDir()
	for _, version := range versions {
		for _, name := range []string{"etcd", "kube-apiserver", "kubectl"} {
			write(t, filepath.Join(installed(store, version), name), "")
		}
	}
	return root, store
}

// installed is where setup-envtest keeps a version.
func installed(store, version string) string {
	return filepath.Join(store, "kubebuilder-envtest", "k8s", version+"-"+runtime.GOOS+"-"+runtime.GOARCH)
}

func TestAssets(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("setup-envtest has another folder here")
	}
	for name, c := range map[string]struct {
		versions []string
		want     string // a version, or nothing if it is built
	}{
		"nothing installed":   {nil, ""},
		"newest":              {[]string{"1.36.2", "1.36.10", "1.35.9"}, "1.36.10"},
		"newer than client":   {[]string{"1.38.0", "1.34.1"}, "1.34.1"},
		"too old":             {[]string{"1.33.0"}, ""},
		"as new as client-go": {[]string{"1.36.10", "1.37.0"}, "1.37.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, store := assets(t, c.versions...)
			want := "built: etcd kube-apiserver"
			if c.want != "" {
				want = installed(store, c.want)
			}
			stdout, stderr, err := run(t, root, []string{"XDG_DATA_HOME=" + store}, "assets.sh")
			if err != nil || strings.TrimSpace(stdout) != want {
				t.Errorf("got %q, %v, want %q\n%s", stdout, err, want, stderr)
			}
			stdout, stderr, err = run(t, root, []string{"XDG_DATA_HOME=" + store}, "assets.sh", "sh", "-c", `echo "$KUBEBUILDER_ASSETS"`)
			if err != nil || strings.TrimSpace(stdout) != want {
				t.Errorf("a command got %q, %v, want %q\n%s", stdout, err, want, stderr)
			}
		})
	}
}

// A folder that lacks a program is passed over in the store, and is an error in KUBEBUILDER_ASSETS.
func TestAssetsIncomplete(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("setup-envtest has another folder here")
	}
	root, store := assets(t, "1.36.1", "1.36.2")
	incomplete := installed(store, "1.36.2")
	if err := os.Chmod(filepath.Join(incomplete, "etcd"), 0o600); err != nil {
		t.Fatal(err)
	}
	environment := []string{"XDG_DATA_HOME=" + store}
	if stdout, stderr, err := run(t, root, environment, "assets.sh"); err != nil || strings.TrimSpace(stdout) != installed(store, "1.36.1") {
		t.Errorf("got %q, %v\n%s", stdout, err, stderr)
	}
	_, stderr, err := run(t, root, append(environment, "KUBEBUILDER_ASSETS="+incomplete), "assets.sh", "true")
	if err == nil || !strings.Contains(stderr, "etcd or kube-apiserver is missing") {
		t.Errorf("an incomplete KUBEBUILDER_ASSETS: %v\n%s", err, stderr)
	}
	complete := installed(store, "1.36.1")
	if stdout, stderr, err := run(t, root, []string{"KUBEBUILDER_ASSETS=" + complete}, "assets.sh"); err != nil || strings.TrimSpace(stdout) != complete {
		t.Errorf("got %q, %v\n%s", stdout, err, stderr)
	}
}

// What a command prints is shown if it fails, except for downloads, and its exit code is handed on.
func TestProgress(t *testing.T) {
	t.Parallel()
	root := project(t, nil)
	const script = `echo go: downloading x; echo out; echo err >&2; exit "$1"`
	const says = "Building it ...\n" // also about a quick command, where the machine stalls
	stdout, stderr, err := run(t, root, nil, "progress.sh", "Building it", "sh", "-c", script, "sh", "0")
	if err != nil || stdout+strings.TrimPrefix(stderr, says) != "" {
		t.Errorf("a success: %v, %q, %q", err, stdout, stderr)
	}
	stdout, stderr, err = run(t, root, nil, "progress.sh", "Building it", "sh", "-c", script, "sh", "3")
	stderr = strings.TrimPrefix(stderr, says)
	if err == nil || err.Error() != "exit status 3" || stdout != "" ||
		!strings.HasPrefix(stderr, "Building it failed: ") || !strings.HasSuffix(stderr, "\nout\nerr\n") {
		t.Errorf("a failure: %v, %q, %q", err, stdout, stderr)
	}
	_, stderr, err = run(t, root, nil, "progress.sh", "Building it", "sleep", "4")
	if err != nil || stderr != says {
		t.Errorf("what takes long: %v, %q", err, stderr)
	}
}

// The Go command does not repeat a download that was cut off: the command is run again, but not when it fails for another reason.
func TestDownloadsAreRepeated(t *testing.T) {
	t.Parallel()
	const script = `echo >>"$3"; [ "$(wc -l <"$3")" -ge "$1" ] || { echo "$2" >&2; exit 1; }`
	const cutOff = `go: example.com/a@v1.0.0: Get "https://proxy.example.com/a/@v/v1.0.0.zip": stream error: stream ID 7; INTERNAL_ERROR`
	for name, c := range map[string]struct {
		succeeds, says string
		attempts       int
		fails          bool
	}{
		"cut off":        {"2", cutOff, 2, false},
		"always":         {"9", cutOff, 3, true},
		"bad gateway":    {"3", `go: reading https://proxy.example.com/a/@v/list: 502 Bad Gateway`, 3, false},
		"not found":      {"2", `go: reading https://proxy.example.com/a/@v/v9.info: 404 Not Found`, 1, true},
		"does not build": {"2", `a.go:7:1: syntax error: unexpected EOF`, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := filepath.Join(t.TempDir(), "attempts")
			_, stderr, err := run(t, project(t, nil), nil, "progress.sh", "Building it", "sh", "-c", script, "sh", c.succeeds, c.says, log)
			attempts, readErr := os.ReadFile(log)
			if (err != nil) != c.fails || readErr != nil || len(attempts) != c.attempts || strings.HasSuffix(stderr, "\n"+c.says+"\n") != c.fails {
				t.Errorf("%d attempts, %v, %q", len(attempts), err, stderr)
			}
		})
	}
}

// recordingGo is a Go command that only writes down which Go version was asked for.
const recordingGo = "#!/bin/sh\necho \"$GOTOOLCHAIN\" >>\"$RECORD\"\n"

// Whatever GOTOOLCHAIN says, scripts and make use the Go version that go.mod pins. TOOLCHAIN overrides it.
func TestToolchain(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	root := project(t, map[string]string{
		"go.mod":   "module example.com/pinned\n\ngo 1.26.0\n\ntoolchain go1.26.99\n",
		"Makefile": string(makefile),
		"bin/go":   recordingGo,
	})
	path := "PATH=" + filepath.Join(root, "bin") + ":" + os.Getenv("PATH")
	for name, c := range map[string]struct {
		command     []string
		environment []string
		want        string
	}{
		"script":           {[]string{"hack/tool.sh", "some"}, nil, "go1.26.99"},
		"local":            {[]string{"hack/tool.sh", "some"}, []string{"GOTOOLCHAIN=local"}, "go1.26.99"},
		"overridden":       {[]string{"hack/tool.sh", "some"}, []string{"TOOLCHAIN=local"}, "local"},
		"make":             {[]string{"make", "build"}, []string{"GOTOOLCHAIN=local"}, "go1.26.99"},
		"make, overridden": {[]string{"make", "build"}, []string{"TOOLCHAIN=local"}, "local"},
		"make, argument":   {[]string{"make", "build", "TOOLCHAIN=go1.26.98"}, nil, "go1.26.98"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			record := filepath.Join(t.TempDir(), "record")
			command := exec.CommandContext(t.Context(), c.command[0], c.command[1:]...)
			if strings.Contains(c.command[0], "/") {
				command.Path = filepath.Join(root, c.command[0])
			}
			command.Dir = root
			command.Env = append([]string{path, "RECORD=" + record}, c.environment...)
			if output, err := command.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			recorded, err := os.ReadFile(record)
			if err != nil {
				t.Fatal(err)
			}
			calls := strings.Fields(string(recorded))
			if len(calls) < 2 {
				t.Errorf("the Go command ran %d times, want at least twice", len(calls))
			}
			for _, got := range calls {
				if got != c.want {
					t.Errorf("the Go command ran with GOTOOLCHAIN=%q, want %q", got, c.want)
				}
			}
		})
	}
}

// A script that runs Go selects the pinned version. Those in folders build servers for the tests, for which any version does.
func TestScriptsSelectToolchain(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("../../hack/*.sh")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts: ", err)
	}
	runsGo := regexp.MustCompile(`(?m)^[^#\n]*(^|[ (])go (-C|build|env|list|mod|run|test|tool)\b`)
	found := 0
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !runsGo.Match(text) {
			continue
		}
		found++
		if !strings.Contains(string(text), "/toolchain.sh") {
			t.Errorf("%s runs Go without hack/toolchain.sh", path)
		}
	}
	if found < 5 {
		t.Errorf("%d scripts run Go, want at least 5", found)
	}
}
