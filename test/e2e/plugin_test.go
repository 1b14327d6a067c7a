package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/cli"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
)

// plugin runs kubectl mandrill as a user, or as the administrator.
func (i *installation) plugin(t *testing.T, user string, args ...string) (out, errOut string, status int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := &access.Env{
		In: strings.NewReader(""), Out: &stdout, Err: &stderr, Now: time.Now, Client: &http.Client{},
		Connect: func(*access.Flags) (*access.Cluster, error) {
			config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("E2E_KUBECONFIG"))
			if err != nil {
				return nil, err
			}
			config.Impersonate.UserName = user
			return access.NewCluster(config, i.objects)
		},
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	status = cli.Main(ctx, env, args)
	return stdout.String(), stderr.String(), status
}

// The plugin reaches the receivers by exec, in images without a shell, with the rights of its user and no others.
func pluginReachesReceivers(t *testing.T, i *installation) {
	for _, args := range [][]string{
		{"dead-letters", "list"}, {"backlog", "list", "-o", "json"}, {"dead-letters", "redrive", "--all", "--type", "send", "--dry-run"},
	} {
		if out, errOut, status := i.plugin(t, "", args...); status != output.StatusOK || out == "" {
			t.Errorf("%v: status %d, %s%s", args, status, out, errOut)
		}
	}
	if out, errOut, status := i.plugin(t, "", "status", "transactional", "-o", "json"); status == output.StatusFailed || !strings.Contains(out, "transactional") {
		t.Errorf("status: %d, %s%s", status, out, errOut)
	}
	if _, errOut, status := i.plugin(t, "", "dead-letters", "show", i.cluster.pods(t, i.release, "receiver")[0].Name+"/999999"); status != output.StatusFailed ||
		!strings.Contains(errOut, "there is no dead letter 999999") {
		t.Errorf("a dead letter that does not exist: %d, %s", status, errOut)
	}
	// Who may list pods and not exec is told which right is missing.
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: i.release, Name: "plugin-reader"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list", "get"}}},
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: i.release, Name: "plugin-reader"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "reader", APIGroup: rbacv1.GroupName}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
	}
	for _, object := range []client.Object{role, binding} {
		if err := i.cluster.client.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := i.cluster.client.Delete(context.WithoutCancel(t.Context()), object); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "the reader may list pods and not exec", func() error {
		_, errOut, status := i.plugin(t, "reader", "dead-letters", "list", "--receiver-namespace", i.release)
		if status != output.StatusIncomplete || !strings.Contains(errOut, "you lack a right: create pods/exec in namespace "+i.release) {
			return fmt.Errorf("status %d: %s", status, errOut)
		}
		return nil
	})
	if _, errOut, _ := i.plugin(t, "nobody", "dead-letters", "list"); !strings.Contains(errOut, "you lack a right: list pods in namespace") {
		t.Errorf("without any right: %s", errOut)
	}
}
