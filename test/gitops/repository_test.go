package gitops

import (
	"io/fs"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// repository is a Git repository, served on loopback, and a working copy of it.
type repository struct {
	folder string
	url    string
}

// identity keeps Git from reading the settings of this machine.
var identity = []string{
	"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@example.com",
	"GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@example.com",
}

// newRepository returns a repository with one commit, which has what is in a cluster before us.
func newRepository(t *testing.T) *repository {
	t.Helper()
	served := t.TempDir()
	run(t, served, identity, "git", "init", "--quiet", "--bare", "--initial-branch=main", "fleet.git")
	// Git's own server, as it runs behind any web server.
	server := httptest.NewServer(&cgi.Handler{
		Path: "/usr/lib/git-core/git-http-backend",
		Env:  []string{"GIT_PROJECT_ROOT=" + served, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null"},
	})
	t.Cleanup(server.Close)
	r := &repository{folder: filepath.Join(t.TempDir(), "fleet"), url: server.URL + "/fleet.git"}
	run(t, served, identity, "git", "clone", "--quiet", filepath.Join(served, "fleet.git"), r.folder)
	consumer, err := os.ReadFile("testdata/consumer.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r.write(t, "clusters/production/consumer.yaml", string(consumer))
	r.commit(t, "The consumer")
	return r
}

func (r *repository) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(r.folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// copyLayout writes config/flux into the working copy, with other words instead of some, each of which must be there.
func (r *repository) copyLayout(t *testing.T, words ...string) {
	t.Helper()
	all := ""
	layout := os.DirFS(root + "/config/flux")
	err := fs.WalkDir(layout, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(layout, path)
		all += string(data)
		r.write(t, path, strings.NewReplacer(words...).Replace(string(data)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(words); i += 2 {
		if !strings.Contains(all, words[i]) {
			t.Fatalf("config/flux does not have %q", words[i])
		}
	}
}

// replace replaces a text of a file.
func (r *repository) replace(t *testing.T, name, before, after string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(r.folder, name))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), before) {
		t.Fatalf("%s does not have %q", name, before)
	}
	r.write(t, name, strings.Replace(string(data), before, after, 1))
}

// commit commits and pushes what the working copy has, and returns the revision as Flux writes it.
func (r *repository) commit(t *testing.T, message string) string {
	t.Helper()
	run(t, r.folder, identity, "git", "add", "--all")
	run(t, r.folder, identity, "git", "commit", "--quiet", "--message", message)
	return r.push(t)
}

// revert reverts a revision.
func (r *repository) revert(t *testing.T, revision string) string {
	t.Helper()
	_, commit, _ := strings.Cut(revision, ":")
	run(t, r.folder, identity, "git", "revert", "--no-edit", commit)
	return r.push(t)
}

func (r *repository) push(t *testing.T) string {
	t.Helper()
	run(t, r.folder, identity, "git", "push", "--quiet", "origin", "HEAD:main")
	return "main@sha1:" + run(t, r.folder, identity, "git", "rev-parse", "HEAD")
}
