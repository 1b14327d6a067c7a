// Package version says which build of the project a program is.
package version

import (
	"cmp"
	"runtime"
	"runtime/debug"
)

// version and commit are set by the linker, as in the Makefile. Without them Go's own record of the build serves.
var version, commit string

// Info describes a build.
type Info struct {
	Version  string // such as v1.2.3, or a pseudo-version
	Commit   string // "unknown" in a build without git
	Go       string // such as go1.26.10
	Platform string // such as linux/amd64
}

// Get describes the build of the running program.
func Get() Info {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = &debug.BuildInfo{}
	}
	return describe(build, version, commit)
}

// describe prefers what the linker has set to Go's record.
func describe(build *debug.BuildInfo, version, commit string) Info {
	settings := map[string]string{}
	for _, setting := range build.Settings {
		settings[setting.Key] = setting.Value
	}
	recorded := settings["vcs.revision"]
	if recorded != "" && settings["vcs.modified"] == "true" {
		recorded += "-dirty"
	}
	return Info{
		Version:  cmp.Or(version, build.Main.Version, "(devel)"),
		Commit:   cmp.Or(commit, recorded, "unknown"),
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}

// String returns one line without the name of the program.
func (i Info) String() string {
	return i.Version + " (commit " + i.Commit + ", " + i.Go + ", " + i.Platform + ")"
}

// LogValues returns the keys and values of the first log line.
func (i Info) LogValues() []any {
	return []any{"version", i.Version, "commit", i.Commit, "go", i.Go, "platform", i.Platform}
}
