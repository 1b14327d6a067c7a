package scripts_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// uninstalled runs uninstall.sh with programs that record their calls.
func uninstalled(t *testing.T, claims string, operatorFails, namespaceHangs bool) (calls []string, stdout string, err error) {
	t.Helper()
	return uninstalledFrom(t, project(t, nil), claims, operatorFails, namespaceHangs)
}

func uninstalledFrom(t *testing.T, root, claims string, operatorFails, namespaceHangs bool) (calls []string, stdout string, err error) {
	t.Helper()
	log := filepath.Join(root, "calls")
	write(t, filepath.Join(root, "path/kubectl"), `#!/bin/sh
echo "kubectl $*" >>"`+log+`"
case "$*" in
"config current-context") echo blue ;;
"wait "*) exit `+exitCode(namespaceHangs)+` ;;
"api-resources "*) [ ! -e "`+root+`/old" ] && echo mutatingadmissionpolicies.admissionregistration.k8s.io ;;
"get persistentvolumeclaims"*) printf '%s' "`+claims+`" ;;
esac
`)
	write(t, filepath.Join(root, "bin/operator"), "#!/bin/sh\necho \"operator $*\" >>\""+log+"\"\nexit "+exitCode(operatorFails)+"\n")
	environment := []string{"PATH=" + filepath.Join(root, "path") + ":" + os.Getenv("PATH")}
	stdout, _, err = run(t, root, environment, "uninstall.sh", "--timeout=1m")
	text, readErr := os.ReadFile(log)
	if readErr != nil {
		t.Fatal(readErr)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n"), stdout, err
}

func exitCode(fails bool) string {
	if fails {
		return "1"
	}
	return "0"
}

// The objects go first, while the operator runs, and the CRD last.
func TestUninstallOrder(t *testing.T) {
	t.Parallel()
	calls, stdout, err := uninstalled(t, "", false, false)
	want := []string{
		"kubectl config current-context",
		"operator uninstall --timeout=1m",
		"kubectl api-resources --api-group=admissionregistration.k8s.io --output name",
		"kubectl delete --ignore-not-found --kustomize config/sidecar-injection",
		"kubectl get persistentvolumeclaims --namespace mandrill-operator-system --ignore-not-found --output name",
		"kubectl delete namespace mandrill-operator-system --ignore-not-found --wait=false",
		"kubectl delete --ignore-not-found validatingadmissionpolicies,validatingadmissionpolicybindings mandrill-operator-scale-in",
		"kubectl delete --ignore-not-found --kustomize config/rbac",
		"kubectl delete --ignore-not-found --kustomize config/crd",
		"kubectl wait --for=delete namespace/mandrill-operator-system --timeout=5m",
	}
	if err != nil || !slices.Equal(calls, want) || !strings.Contains(stdout, "of the context blue") {
		t.Errorf("error %v, calls\n%s\noutput\n%s", err, strings.Join(calls, "\n"), stdout)
	}
}

// A cluster without MutatingAdmissionPolicy has no policies to delete.
func TestUninstallFromAnOlderCluster(t *testing.T) {
	t.Parallel()
	root := project(t, nil)
	write(t, filepath.Join(root, "old"), "")
	calls, stdout, err := uninstalledFrom(t, root, "", false, false)
	if err != nil || slices.ContainsFunc(calls, func(call string) bool { return strings.Contains(call, "sidecar-injection") }) || len(calls) != 9 {
		t.Errorf("error %v, calls %q, output\n%s", err, calls, stdout)
	}
}

// While objects are left nothing else is removed.
func TestUninstallStopsWhileObjectsAreLeft(t *testing.T) {
	t.Parallel()
	if calls, _, err := uninstalled(t, "", true, false); err == nil || len(calls) != 2 {
		t.Errorf("error %v, calls %q", err, calls)
	}
}

// A volume of the namespace may be a buffer with undelivered events.
func TestUninstallKeepsVolumes(t *testing.T) {
	t.Parallel()
	calls, stdout, err := uninstalled(t, "persistentvolumeclaim/buffer", false, false)
	if err != nil || slices.ContainsFunc(calls, func(call string) bool { return strings.Contains(call, "delete namespace") }) {
		t.Errorf("error %v, calls %q", err, calls)
	}
	for _, want := range []string{"persistentvolumeclaim/buffer", "kubectl delete namespace mandrill-operator-system"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the output lacks %q:\n%s", want, stdout)
		}
	}
}

// A namespace that does not go has a time limit, and the output says what to do.
func TestUninstallSaysThatTheNamespaceHangs(t *testing.T) {
	t.Parallel()
	if _, stdout, err := uninstalled(t, "", false, true); err == nil || !strings.Contains(stdout, "is not gone yet, and make install fails until it is") {
		t.Errorf("error %v, output\n%s", err, stdout)
	}
}
