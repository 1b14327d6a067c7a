package scripts_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The Dockerfile, which CI does not run, says what make image does: the pinned Go version, the same command, the same user, and an
// image for each program.
func TestDockerfileAgrees(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	dockerfile := read("Dockerfile")
	toolchain := regexp.MustCompile(`(?m)^toolchain go(\S+)$`).FindStringSubmatch(read("go.mod"))
	if len(toolchain) != 2 {
		t.Fatal("go.mod pins no version of Go")
	}
	user := regexp.MustCompile(`user = "([0-9:]+)"`).FindStringSubmatch(read("hack/image/image.go"))
	if len(user) != 2 {
		t.Fatal("hack/image has no user")
	}
	want := []string{"golang:" + toolchain[1] + " AS build", "make build TOOLCHAIN=local", "\nUSER " + user[1] + "\n", "FROM scratch AS base"}
	programs, err := filepath.Glob("../../cmd/*/main.go")
	if err != nil || len(programs) < 3 {
		t.Fatalf("programs: %v, %v", programs, err)
	}
	for _, path := range programs {
		name := filepath.Base(filepath.Dir(path))
		want = append(want, "\nFROM base AS "+name+"\nCOPY --from=build /src/bin/"+name+" /\nENTRYPOINT [\"/"+name+"\"]\n")
		if !strings.Contains(read("hack/image/program.go"), `{"`+name+`", `) {
			t.Errorf("hack/image makes no image of %s", name)
		}
	}
	for _, text := range want {
		if !strings.Contains(dockerfile, text) {
			t.Errorf("the Dockerfile does not have %q", text)
		}
	}
}
