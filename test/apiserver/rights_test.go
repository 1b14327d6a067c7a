package apiserver_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// usedRights are the requests of the operator in all tests, as "verb group/resource".
var usedRights sync.Map

// recorder records what a client asks the API server for.
type recorder struct{ next http.RoundTripper }

func (r recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	if right := rightOf(request); right != "" {
		usedRights.Store(right, true)
	}
	return r.next.RoundTrip(request)
}

// rightOf returns the right that a request needs, as "verb group/resource", or nothing for paths without resources.
func rightOf(request *http.Request) string {
	parts := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	group := ""
	switch {
	case len(parts) > 3 && parts[0] == "apis":
		group, parts = parts[1], parts[3:]
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	default:
		return ""
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	resource := parts[0]
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	return verbOf(request, len(parts) > 1) + " " + group + "/" + resource
}

func verbOf(request *http.Request, named bool) string {
	switch {
	case request.Method == http.MethodGet && request.URL.Query().Get("watch") != "":
		return "watch"
	case request.Method == http.MethodGet && named:
		return "get"
	case request.Method == http.MethodGet:
		return "list"
	case request.Method == http.MethodPut:
		return "update"
	}
	return map[string]string{http.MethodPost: "create", http.MethodPatch: "patch", http.MethodDelete: "delete"}[request.Method]
}

// unasked are rights that no request of the operator needs by itself.
var unasked = map[string]string{
	"update mandrill-operator.io/mandrillwebhooks/finalizers": "the API server wants it for owner references that block deletion",
	"patch /events":              "for an Event of the Lease that repeats",
	"create /events":             "for an Event of the Lease",
	"patch events.k8s.io/events": "for an Event that repeats",
}

// reportUnusedRights returns an error for rights of the operator that no test needs. Each should go, or get the test that fails without
// it. Who may watch all objects sees them all, so get and list are not looked at then: a client lists where a server cannot stream.
func reportUnusedRights() error {
	granted, err := decodeFile("../../config/rbac/role.yaml")
	if err != nil {
		return err
	}
	var unused []string
	for _, object := range granted {
		var role rbacv1.ClusterRole
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role); err != nil {
			return err
		}
		for _, rule := range role.Rules {
			for _, verb := range rule.Verbs {
				right := verb + " " + rule.APIGroups[0] + "/" + rule.Resources[0]
				_, used := usedRights.Load(right)
				_, exempt := unasked[right]
				if reads := (verb == "get" || verb == "list") && slices.Contains(rule.Verbs, "watch"); !used && !exempt && !reads {
					unused = append(unused, right)
				}
			}
		}
	}
	if len(unused) > 0 {
		return fmt.Errorf("no test needs these rights of the operator: %s", strings.Join(unused, ", "))
	}
	return nil
}

// filtered reports whether only some tests run.
func filtered() bool {
	return slices.ContainsFunc(os.Args, func(arg string) bool {
		return strings.HasPrefix(arg, "-test.run=") || strings.HasPrefix(arg, "-test.skip=") || strings.HasPrefix(arg, "-test.list=")
	})
}
