package chart_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// workload is what tests look at in a workload of the receiver or operator.
type workload struct {
	args []string
	env  map[string]string
	spec map[string]any
}

func workloadOf(t *testing.T, object *unstructured.Unstructured) workload {
	t.Helper()
	pod := podOf(t, object)
	w := workload{args: pod.Spec.Containers[0].Args, env: map[string]string{}}
	for _, variable := range pod.Spec.Containers[0].Env {
		w.env[variable.Name] = variable.Value
	}
	w.spec, _, _ = unstructured.NestedMap(object.Object, "spec")
	return w
}

func (w workload) has(t *testing.T, args ...string) {
	t.Helper()
	for _, arg := range args {
		if !slices.Contains(w.args, arg) {
			t.Errorf("the arguments do not have %s: %q", arg, w.args)
		}
	}
}

// Each buffer mode has a workload with a name of its own, because the volumes of one are not those of another.
func TestBufferModes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, kind, workload string
		args                 []string // of Helm
		replicas             int
		flags                []string
	}{
		{"volume", "StatefulSet", "mandrill-receiver", nil, 2, []string{
			"--buffer=embedded", "--buffer-dir=/buffer", "--buffer-max-bytes=6871947673", "--shutdown-delay=10s",
			"--routes-secret=mandrill-operator-system/mandrill-receiver-routes", "--operator-url=http://mandrill-operator.mandrill-operator-system:8082",
		}},
		{"volume of 1Gi", "StatefulSet", "mandrill-receiver", []string{"--set", "receiver.buffer.volume.size=1Gi"}, 2, []string{"--buffer-max-bytes=858993459"}},
		{"cluster", "StatefulSet", "mandrill-receiver-cluster", []string{"--set", "receiver.buffer.mode=Cluster"}, 3, []string{
			"--buffer=cluster", "--buffer-peers=mandrill-receiver-buffer:6222", "--buffer-password-file=/cluster/password", "--buffer-tls-ca-file=/cluster/ca.crt",
		}},
		{"stopped cluster", "StatefulSet", "mandrill-receiver-cluster", []string{"--set", "receiver.buffer.mode=Cluster,receiver.replicas=0"}, 0, nil},
		{"cluster without TLS", "StatefulSet", "mandrill-receiver-cluster", []string{"--set", "receiver.buffer.mode=Cluster,receiver.buffer.cluster.tls=None"}, 3, []string{"--buffer-insecure"}},
		{"nats", "Deployment", "mandrill-receiver-nats", []string{"--set", "receiver.buffer.mode=NATS,receiver.buffer.nats.urls={nats://nats:4222},receiver.buffer.nats.maxSize=1Gi,receiver.replicas=5"}, 5, []string{
			"--buffer=nats://nats:4222", "--buffer-max-bytes=1073741824", "--buffer-name=mandrill-operator-system-mandrill-receiver", "--buffer-replicas=3",
		}},
		{"none", "Deployment", "mandrill-receiver-direct", []string{"--set", "receiver.buffer.mode=None"}, 2, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			objects := template(t, test.args...)
			w := workloadOf(t, find(t, objects, test.kind, test.workload))
			w.has(t, test.flags...)
			if fmt.Sprint(w.spec["replicas"]) != strconv.Itoa(test.replicas) {
				t.Errorf("%v replicas, want %d", w.spec["replicas"], test.replicas)
			}
			if test.name == "none" && strings.Contains(strings.Join(w.args, " "), "--buffer") {
				t.Errorf("without a buffer there are flags of one: %q", w.args)
			}
			if service, _ := w.spec["serviceName"].(string); service != "" {
				find(t, objects, "Service", service)
			}
			ways := 0
			for _, object := range objects {
				if kind := object.GetKind(); kind == "StatefulSet" || kind == "Deployment" {
					ways++
				}
			}
			if ways != 2 {
				t.Errorf("%d workloads, want those of the operator and the receiver", ways)
			}
		})
	}
}

// The Go runtime follows the limits of the containers.
func TestLimitsOfGoFollowResources(t *testing.T) {
	t.Parallel()
	objects := template(t)
	for name, want := range map[string]string{"mandrill-operator": "204MiB", "mandrill-receiver": "384MiB"} {
		kind := map[string]string{"mandrill-operator": "Deployment", "mandrill-receiver": "StatefulSet"}[name]
		if env := workloadOf(t, find(t, objects, kind, name)).env; env["GOMEMLIMIT"] != want || env["GOMAXPROCS"] != "" {
			t.Errorf("%s has %v, want GOMEMLIMIT=%s", name, env, want)
		}
	}
	objects = template(t, "--set", "receiver.resources.limits.memory=2Gi,receiver.resources.limits.cpu=1500m,operator.resources.limits=null")
	if env := workloadOf(t, find(t, objects, "StatefulSet", "mandrill-receiver")).env; env["GOMEMLIMIT"] != "1228MiB" || env["GOMAXPROCS"] != "2" {
		t.Errorf("the receiver has %v", env)
	}
	if env := workloadOf(t, find(t, objects, "Deployment", "mandrill-operator")).env; len(env) > 0 {
		t.Errorf("without limits the operator has %v", env)
	}
}

// Requests in flight, deliveries and the delay for load balancers fit into the time that a pod has to end.
func TestGracePeriodIsLongerThanShutdown(t *testing.T) {
	t.Parallel()
	pod := podOf(t, find(t, template(t, "--set", "receiver.shutdownDelaySeconds=30"), "StatefulSet", "mandrill-receiver"))
	if got := *pod.Spec.TerminationGracePeriodSeconds; got != 95 {
		t.Errorf("the pod has %d seconds, want 30 + 65", got)
	}
}

func TestIngressHasBodySizeAndTimeouts(t *testing.T) {
	t.Parallel()
	for controller, want := range map[string]map[string]string{
		"none":          {},
		"traefik":       {},
		"ingress-nginx": {"nginx.ingress.kubernetes.io/proxy-body-size": "100m", "nginx.ingress.kubernetes.io/proxy-read-timeout": "120"},
		"nginx":         {"nginx.org/client-max-body-size": "100m", "nginx.org/proxy-read-timeout": "120s"},
		"haproxy":       {"haproxy.org/timeout-server": "120s", "haproxy-ingress.github.io/proxy-body-size": "100m"},
		"skipper":       {"zalando.org/skipper-filter": `backendTimeout("120s") -> readTimeout("120s")`},
		"alb":           {"alb.ingress.kubernetes.io/healthcheck-path": "/healthz"},
	} {
		t.Run(controller, func(t *testing.T) {
			t.Parallel()
			ingress := find(t, template(t, "--set", "publicURL=https://hooks.example.com/mandrill,ingress.enabled=true,ingress.controller="+controller), "Ingress", "mandrill-receiver")
			got := ingress.GetAnnotations()
			for name, value := range want {
				if got[name] != value {
					t.Errorf("%s is %q, want %q", name, got[name], value)
				}
			}
			rules, _, _ := unstructured.NestedSlice(ingress.Object, "spec", "rules")
			rule, _ := rules[0].(map[string]any)
			paths, _, _ := unstructured.NestedSlice(rule, "http", "paths")
			path, _ := paths[0].(map[string]any)
			if rule["host"] != "hooks.example.com" || path["path"] != "/mandrill" {
				t.Errorf("it leads %v%v to the receiver, not the public URL", rule["host"], path["path"])
			}
		})
	}
}

// Two releases share no object of the cluster except the CRD, and no name in a namespace.
func TestReleasesShareNothing(t *testing.T) {
	t.Parallel()
	ids := map[string]bool{}
	for _, args := range [][]string{
		{"template", "mandrill-operator", chart, "--namespace", "one"},
		{"template", "mandrill-operator", chart, "--namespace", "two"},
		{"template", "other", chart, "--namespace", "two"},
	} {
		output, err := helm(t, append(args, "--set", "crds.install=false")...)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range decode(t, output) {
			id := strings.Join([]string{object.GetKind(), object.GetNamespace(), object.GetName()}, "/")
			if ids[id] {
				t.Errorf("%s is in two releases", id)
			}
			ids[id] = true
		}
	}
}

// The public URL of a release is that of its own Service, or what the operator is told.
func TestOperatorAsksTheReceiver(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"":                        "--receiver-url=http://mandrill-receiver.mandrill-operator-system:80",
		"http://receiver.example": "--receiver-url=http://receiver.example",
		"public":                  "",
	} {
		args := strings.Join(workloadOf(t, find(t, template(t, "--set", "operator.receiverURL="+value), "Deployment", "mandrill-operator")).args, " ")
		if want == "" && strings.Contains(args, "--receiver-url") || !strings.Contains(args, want) {
			t.Errorf("operator.receiverURL=%q: the arguments are %s", value, args)
		}
	}
}

// Values that cannot work are refused, with the value and what to write instead.
func TestRefusals(t *testing.T) {
	t.Parallel()
	const nats = "receiver.buffer.mode=NATS,receiver.buffer.nats.urls={nats://n:4222},receiver.buffer.nats.maxSize=1Gi,"
	for _, test := range []struct{ set, want string }{
		{"replicaCount=2", "additional properties 'replicaCount' not allowed"},
		{"receiver.replicas=-1", "at '/receiver/replicas': minimum: got -1, want 0"},
		{"receiver.replicas=two", "at '/receiver/replicas': got string, want"},
		{"receiver.buffer.mode=Disk", "at '/receiver/buffer/mode': value must be one of 'Volume', 'Cluster', 'NATS', 'None'"},
		{"receiver.buffer.nats.urls={nats://n:4222}", "receiver.buffer.nats.urls is set, but receiver.buffer.mode is Volume: there is one buffer"},
		{"receiver.buffer.mode=None,receiver.buffer.cluster.tlsSecretName=x", "receiver.buffer.cluster is set, but receiver.buffer.mode is None: there is one buffer"},
		{"receiver.buffer.mode=Cluster,receiver.replicas=2", "receiver.replicas is 2, but receiver.buffer.mode=Cluster has exactly 3 members"},
		{"receiver.buffer.mode=Cluster,receiver.buffer.cluster.tls=Secret", "needs receiver.buffer.cluster.tlsSecretName"},
		{"receiver.buffer.mode=NATS", "receiver.buffer.mode=NATS needs receiver.buffer.nats.urls"},
		{"receiver.buffer.mode=NATS,receiver.buffer.nats.urls={nats://n:4222}", "needs receiver.buffer.nats.maxSize"},
		{"receiver.buffer.mode=NATS,receiver.buffer.nats.urls={nats://user:pass@n:4222}", "at '/receiver/buffer/nats/urls/0'"},
		{nats + "receiver.buffer.nats.tlsClientCertificate=true", "needs receiver.buffer.nats.tlsSecretName"},
		{"receiver.autoscaling.type=HPA", "receiver.autoscaling.type=HPA needs receiver.buffer.mode=NATS: with Volume, a receiver that is scaled away would leave its buffer"},
		{"receiver.page.proxy.image=oauth2-proxy", "receiver.page.proxy needs receiver.page.enabled=true"},
		{"receiver.page.hosts={https://mandrill.example.com}", "at '/receiver/page/hosts/0'"},
		{nats + "receiver.autoscaling.type=HPA,receiver.replicas=2", "receiver.replicas and receiver.autoscaling exclude each other"},
		{nats + "receiver.autoscaling.type=KEDA", "needs receiver.autoscaling.keda.serverAddress"},
		{nats + "receiver.autoscaling.type=HPA,receiver.autoscaling.minReplicas=11", "must not be more than receiver.autoscaling.maxReplicas"},
		{nats + "receiver.autoscaling.type=HPA,receiver.resources.requests.cpu=null", "needs receiver.resources.requests.cpu"},
		{"receiver.buffer.volume.size=50Mi", "receiver.buffer.volume.size is 50Mi and must be at least 80Mi"},
		{"receiver.buffer.volume.size=big", "at '/receiver/buffer/volume/size': 'big' does not match pattern"},
		{"receiver.maxBodySize=200Mi", "receiver.maxInflightSize is 256Mi and must be at least twice receiver.maxBodySize"},
		{"receiver.maxInflightSize=1Gi", "receiver.resources.limits.memory is 640Mi and must be at least 2560Mi"},
		{"publicURL=hooks.example.com", "at '/publicURL': 'hooks.example.com' does not match pattern"},
		{"publicURL=https://hooks.example.com/?x=1", "at '/publicURL'"},
		{"ingress.enabled=true", "ingress.enabled needs publicURL, or ingress.host"},
		{"ingress.controller=envoy", "at '/ingress/controller': value must be one of"},
		{"gateway.enabled=true,publicURL=https://a.example", "gateway.enabled needs gateway.parentRefs"},
		{"monitoring.podMonitor=true,monitoring.serviceMonitor=true", "choose one"},
		{"monitoring.rules=true,monitoring.disabledAlerts={MandrillSinkFails}", "there is no such alert; there are MandrillSinkFailing, "},
		{"monitoring.alertLabels.tier=1", "at '/monitoring/alertLabels/tier': got number, want string"},
		{"uninstall.deleteObjects=true,installation=blue", "would delete the objects of other installations too"},
		{"image.registry=https://registry.example", "at '/image/registry'"},
		{"receiver.image.digest=abc", "at '/receiver/image/digest'"},
		{"watchNamespaces={a,a}", "at '/watchNamespaces': items at 0 and 1 are equal"},
		{"watchNamespaces={A}", "at '/watchNamespaces/0'"},
		{"sinks.allowHosts={http://localhost}", "at '/sinks/allowHosts/0'"},
		{"sidecarInjection.enabled=true,receiver.maxInflightSize=250Mi,sidecarInjection.resources.limits.memory=600Mi", "sidecarInjection.resources.limits.memory is 600Mi and must be at least 625Mi"},
		{"sidecarInjection.enabled=true,sidecarInjection.port=9091", "sidecarInjection.port and sidecarInjection.metricsPort must differ"},
		{"sidecarInjection.enabled=true,sidecarInjection.bufferSize=64Mi", "sidecarInjection.bufferSize is 64Mi and must be at least 80Mi"},
		{"sidecarInjection.bufferSize=1.5Gi", "at '/sidecarInjection/bufferSize'"},
		{"fullnameOverride=a-name-that-is-longer-than-forty-characters", "at '/fullnameOverride': maxLength: got 43, want 40"},
		{"operator.extraArgs={x}", "at '/operator/extraArgs/0'"},
	} {
		t.Run(test.set, func(t *testing.T) {
			t.Parallel()
			output, err := helm(t, "template", "mandrill-operator", chart, "--set", test.set)
			if err == nil || !strings.Contains(output, test.want) {
				t.Errorf("got %v, want a refusal with %q:\n%s", err, test.want, output)
			}
		})
	}
}

// Before Kubernetes 1.36 there is no policy that could inject sidecars, and the chart shows the other way.
func TestSidecarInjectionNeedsThePolicy(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{"v1.35.9": "sidecarInjection.enabled needs Kubernetes 1.36", "v1.36.0": ""} {
		output, err := helm(t, "template", "mandrill-operator", chart, "--kube-version", version, "--set", "sidecarInjection.enabled=true")
		if (err == nil) != (want == "") || !strings.Contains(output, want) {
			t.Errorf("Kubernetes %s: got %v, want %q", version, err, want)
		}
	}
}

// Every example says what it is for.
func TestExamplesAreDescribed(t *testing.T) {
	t.Parallel()
	for _, path := range examples(t) {
		if text := readFile(t, path); !strings.HasPrefix(text, "# ") {
			t.Errorf("%s does not begin with a comment", filepath.Base(path))
		}
	}
}

// Uninstalling a release does not delete the CRD, and with it every MandrillWebhook, unless somebody wants that.
func TestCRDIsKept(t *testing.T) {
	t.Parallel()
	const policy, name = "helm.sh/resource-policy", "mandrillwebhooks.mandrill-operator.io"
	for set, want := range map[string]string{"crds.keep=true": "keep", "crds.keep=false": ""} {
		if got := find(t, template(t, "--set", set), "CustomResourceDefinition", name).GetAnnotations()[policy]; got != want {
			t.Errorf("%s: %s is %q, want %q", set, policy, got, want)
		}
	}
	for _, object := range template(t, "--set", "crds.install=false") {
		if object.GetKind() == "CustomResourceDefinition" {
			t.Error("crds.install=false installs a CRD")
		}
	}
}

// The Service sends requests to receivers only, whatever their buffer mode, so that a change of the mode leaves no gap.
func TestServiceSelectsReceiversOfAllModes(t *testing.T) {
	t.Parallel()
	objects := template(t, "--set", "receiver.drain.ordinals={1}")
	selector, _, _ := unstructured.NestedStringMap(find(t, objects, "Service", "mandrill-receiver").Object, "spec", "selector")
	selected := 0
	for _, object := range objects {
		pod := podOf(t, object)
		if pod == nil {
			continue
		}
		matches := true
		for label, value := range selector {
			matches = matches && pod.Labels[label] == value
		}
		if want := object.GetName() == "mandrill-receiver"; matches != want {
			t.Errorf("the Service selects the pods of %s: %t, want %t", object.GetName(), matches, want)
		}
		selected++
	}
	if selected != 3 || selector["mandrill-operator.io/buffer"] != "" {
		t.Errorf("%d workloads, selector %v", selected, selector)
	}
}
