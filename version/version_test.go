package version

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	const revision = "34b01ac1f2d3"
	settings := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "vcs.revision", Value: revision}, {Key: "vcs.modified", Value: modified}}
	}
	for name, c := range map[string]struct {
		build           debug.BuildInfo
		version, commit string
		want            string
	}{
		"linked":             {debug.BuildInfo{Main: debug.Module{Version: "v0.0.0-1"}, Settings: settings("false")}, "v1.2.3", "c0ffee", "v1.2.3 (commit c0ffee"},
		"version only":       {debug.BuildInfo{Settings: settings("false")}, "v1.2.3", "", "v1.2.3 (commit " + revision},
		"go install":         {debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "", "", "v1.2.3 (commit unknown"},
		"go build":           {debug.BuildInfo{Main: debug.Module{Version: "v0.0.0-1"}, Settings: settings("false")}, "", "", "v0.0.0-1 (commit " + revision},
		"uncommitted change": {debug.BuildInfo{Settings: settings("true")}, "", "", "(devel) (commit " + revision + "-dirty"},
		"no record":          {debug.BuildInfo{}, "", "", "(devel) (commit unknown"},
	} {
		want := c.want + ", " + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH + ")"
		if got := describe(&c.build, c.version, c.commit).String(); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestLogValuesArePairs(t *testing.T) {
	t.Parallel()
	values := Get().LogValues()
	for i := 0; i < len(values); i += 2 {
		if key, ok := values[i].(string); !ok || key == "" || values[i+1] == "" {
			t.Errorf("key %v has the value %q", values[i], values[i+1])
		}
	}
}
