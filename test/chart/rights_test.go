package chart_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// What each service account may do is what the golden file says, as the API server itself lists it: nothing that is not needed slips in.
func TestRights(t *testing.T) {
	t.Parallel()
	// Other roles than those of another installation, because roles are added up.
	for name, args := range map[string][]string{
		"cluster":          {"--set", "fullnameOverride=wide-operator"},
		"watch-namespaces": {"--set", "fullnameOverride=narrow-operator", "--set", "watchNamespaces={shop,crm}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, object := range template(t, args...) {
				if kind := object.GetKind(); kind != "ServiceAccount" && !strings.Contains(kind, "Role") {
					continue
				}
				if err := admin.Create(t.Context(), object); err != nil && !apierrors.IsAlreadyExists(err) {
					t.Fatal(err)
				}
			}
			prefix := map[string]string{"cluster": "wide", "watch-namespaces": "narrow"}[name]
			var got strings.Builder
			for _, program := range []string{"operator", "receiver"} {
				for _, place := range []string{namespace, "shop", "default"} {
					fmt.Fprintf(&got, "%s in %s:\n", program, place)
					for _, line := range rights(t, prefix+"-"+program, place) {
						fmt.Fprintln(&got, "  "+line)
					}
				}
			}
			golden(t, "rights-"+name+".txt", got.String())
		})
	}
}

// rights returns what a service account may do in a namespace, beyond what every account may.
func rights(t *testing.T, account, place string) []string {
	t.Helper()
	base := review(t, "system:serviceaccount:default:nobody", place)
	own := review(t, "system:serviceaccount:"+namespace+":"+account, place)
	return slices.DeleteFunc(own, func(line string) bool { return slices.Contains(base, line) })
}

func review(t *testing.T, user, place string) (lines []string) {
	t.Helper()
	as := rest.CopyConfig(config)
	as.Impersonate.UserName = user
	reviewer, err := client.New(as, client.Options{Scheme: admin.Scheme(), Mapper: admin.RESTMapper()})
	if err != nil {
		t.Fatal(err)
	}
	asked := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: place}}
	if err := reviewer.Create(t.Context(), asked); err != nil {
		t.Fatal(err)
	}
	if asked.Status.Incomplete || asked.Status.EvaluationError != "" && !strings.Contains(asked.Status.EvaluationError, "addressable-resolver") {
		t.Fatalf("the list is incomplete: %s", asked.Status.EvaluationError)
	}
	for _, rule := range asked.Status.ResourceRules {
		lines = append(lines, line(rule))
	}
	for _, rule := range asked.Status.NonResourceRules {
		lines = append(lines, fmt.Sprint(strings.Join(rule.Verbs, ","), " ", strings.Join(rule.NonResourceURLs, ",")))
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// line shows a rule as "verbs group/resources [names]".
func line(rule authorizationv1.ResourceRule) string {
	slices.Sort(rule.Verbs)
	text := fmt.Sprintf("%s %s/%s", strings.Join(rule.Verbs, ","), strings.Join(rule.APIGroups, ","), strings.Join(rule.Resources, ","))
	if len(rule.ResourceNames) > 0 {
		text += fmt.Sprint(" ", rule.ResourceNames)
	}
	return text
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is out of date (go test ./test/chart -run %s -update writes it):\n%s", path, t.Name(), diff)
	}
}

// With watchNamespaces the operator has two rights in all namespaces: to its own objects, because it must let go those of a watched
// namespace that is being deleted, where its Role is gone already; and to ask whose a token is, which can be left out.
func TestWatchedNamespacesBoundRights(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string][]string{
		"watchNamespaces={shop}":                        {"authentication.k8s.io", "mandrill-operator.io"},
		"watchNamespaces={shop},operator.reports=false": {"mandrill-operator.io"},
	} {
		var groups []string
		objects := template(t, "--set", setting)
		for _, object := range objects {
			if object.GetKind() != "ClusterRoleBinding" {
				continue
			}
			name, _, _ := unstructured.NestedString(object.Object, "roleRef", "name")
			var role rbacv1.ClusterRole
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(find(t, objects, "ClusterRole", name).Object, &role); err != nil {
				t.Fatal(err)
			}
			for _, rule := range role.Rules {
				groups = append(groups, rule.APIGroups...)
			}
		}
		slices.Sort(groups)
		if got := slices.Compact(groups); !slices.Equal(got, want) {
			t.Errorf("%s: in all namespaces the operator has rights to %q, want %q", setting, got, want)
		}
	}
}
