package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kustomization writes that of docs/install.md into a folder, with the images and the URLs of the tests.
func kustomization(t *testing.T) string {
	t.Helper()
	_, text, found := strings.Cut(manifest(t, "../../docs/install.md"), "```yaml\napiVersion: kustomize.config.k8s.io/v1beta1\n")
	text, _, ended := strings.Cut(text, "```")
	if !found || !ended {
		t.Fatal("docs/install.md has no kustomization")
	}
	folder := t.TempDir()
	base, err := filepath.Abs("../../config/default")
	if err == nil {
		base, err = filepath.Rel(folder, base)
	}
	if err != nil {
		t.Fatal(err)
	}
	const argument = `    - {op: add, path: /spec/template/spec/containers/0/args/-, value: "--public-url=https://hooks.example.com/mandrill"}`
	text = strings.NewReplacer(
		"github.com/mandrill-operator/mandrill-operator/config/default", base,
		"registry.example.com/mandrill-operator/operator", registry()+"/operator, newTag: "+tag(),
		"registry.example.com/mandrill-operator/receiver", registry()+"/receiver, newTag: "+tag(),
		argument, strings.ReplaceAll(argument, "https://hooks.example.com/mandrill", "http://mandrill-receiver."+system+"/mandrill")+"\n"+
			strings.ReplaceAll(argument, "--public-url=https://hooks.example.com/mandrill", "--mandrill-api-url=http://mandrill.e2e:8085/api/1.0"),
	).Replace(text)
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// The kustomization of docs/install.md installs what delivers events.
func TestKustomize(t *testing.T) {
	i := &installation{cluster: connect(t), release: system, objects: "shop"}
	i.fixtures(t)
	awaitTerminated(t, i.release)
	folder := kustomization(t)
	t.Cleanup(func() {
		if t.Failed() {
			diagnose(t, i.release)
		}
		cleanUp(t, "kubectl", "delete", "mandrillwebhooks", "--all", "--namespace="+i.objects, "--timeout=60s")
		cleanUp(t, "kubectl", "delete", "--kustomize="+folder, "--wait=false")
		deleteNamespaces(t, i.objects)
	})
	command(t, "kubectl", "apply", "--kustomize="+folder)
	command(t, "kubectl", "rollout", "status", "--namespace="+i.release, "deployment/mandrill-operator", "--timeout=5m")
	command(t, "kubectl", "rollout", "status", "--namespace="+i.release, "statefulset/mandrill-receiver", "--timeout=5m")
	i.webhooks(t)
	r := i.startLoad(t, nil).finish(t)
	noFailedPosts(t, r)
	noDuplicates(t, r)
}
