package chart_test

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ports returns the names of the ports that a NetworkPolicy lets in.
func ports(policy *unstructured.Unstructured) (names []string) {
	rules, _, _ := unstructured.NestedSlice(policy.Object, "spec", "ingress")
	for _, rule := range rules {
		for _, port := range rule.(map[string]any)["ports"].([]any) {
			if name, ok := port.(map[string]any)["port"].(string); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

// The page is off by default. It is at the loopback address of the pod, so that only a proxy in the pod leads there from outside.
func TestThePageIsBehindAProxy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		set     string
		flags   []string
		proxied bool
	}{
		{"", nil, false},
		{"receiver.page.enabled=true", []string{"--page-listen=127.0.0.1:8089"}, false},
		{"receiver.page.enabled=true,receiver.page.payloads=true,receiver.page.hosts={mandrill.example.com},receiver.page.proxy.image=oauth2-proxy:v7,receiver.page.proxyFrom[0].podSelector.matchLabels.app=gate",
			[]string{"--page-listen=127.0.0.1:8089", "--page-payloads", "--page-hosts=mandrill.example.com"}, true},
	} {
		var args []string
		if test.set != "" {
			args = []string{"--set", test.set}
		}
		service, admitted := false, false
		for _, object := range template(t, args...) {
			switch {
			case object.GetKind() == "Service" && object.GetName() == "mandrill-receiver-page":
				service = true
			case object.GetKind() == "NetworkPolicy" && object.GetName() == "mandrill-receiver":
				admitted = slices.Contains(ports(object), "page")
			case object.GetKind() == "StatefulSet":
				pod := podOf(t, object)
				got := slices.DeleteFunc(slices.Clone(pod.Spec.Containers[0].Args), func(arg string) bool { return !strings.HasPrefix(arg, "--page") })
				if !slices.Equal(got, test.flags) {
					t.Errorf("%s: the receiver has the flags %q, want %q", test.set, got, test.flags)
				}
				if proxied := len(pod.Spec.Containers) == 2 && pod.Spec.Containers[1].Name == "page-proxy" && pod.Spec.Containers[1].Ports[0].Name == "page"; proxied != test.proxied {
					t.Errorf("%s: the containers are %v", test.set, pod.Spec.Containers)
				}
			}
		}
		if service != test.proxied || admitted != test.proxied {
			t.Errorf("%s: a Service %t, admitted by the NetworkPolicy %t, want both %t", test.set, service, admitted, test.proxied)
		}
	}
}
