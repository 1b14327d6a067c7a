package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// Mandrill checks the URL and sends batches through a real ingress, small ones and large ones.
func TestIngress(t *testing.T) {
	t.Parallel()
	i := parallel(t, "front")
	i.baseURL = "http://" + startSkipper(t, "front-ingress")
	i.install(t, "ingress.enabled=true", "ingress.controller=skipper")
	i.webhooks(t)
	batchBecomesCloudEvents(t, i)
	for _, settings := range []map[string]any{nil, {"padding": 3 << 20, "events": 5, "lanes": 2, "intervalMs": 1000}} { // batches of 15 MiB
		r := i.startLoad(t, settings).finish(t)
		noFailedPosts(t, r)
		noDuplicates(t, r)
	}
}

// startSkipper runs an ingress controller in a namespace, and returns its host.
func startSkipper(t *testing.T, namespace string) string {
	t.Helper()
	awaitTerminated(t, namespace)
	apply(t, manifest(t, "testdata/ingress.yaml", "NAMESPACE", namespace))
	t.Cleanup(func() {
		cleanUp(t, "kubectl", "delete", "clusterrole,clusterrolebinding", "e2e-"+namespace)
		deleteNamespaces(t, namespace)
	})
	command(t, "kubectl", "rollout", "status", "--namespace="+namespace, "deployment/skipper", "--timeout=5m")
	return "skipper." + namespace
}

// nginx with its defaults answers 413 to a batch over 1 MB. Mandrill reports that, and the status says who does it and what to set.
// When nginx accepts more, Mandrill's next attempt is delivered.
func TestNginxRefusesLargeBatches(t *testing.T) {
	t.Parallel()
	needsNode(t)
	if os.Getenv("E2E_NGINX") == "" {
		t.Skip("there is no nginx")
	}
	i := parallel(t, "hostile")
	i.baseURL = "http://" + nginxAddress
	i.install(t, "receiver.replicas=1")
	reload := i.startNginx(t)
	apply(t, i.sample(t, i.objects, apiKey, bulkKey))
	i.cluster.awaitCondition(t, i.objects, "transactional", v1alpha1.ConditionReady, metav1.ConditionTrue)

	clicks := func(count int) {
		i.mandrill(t, "events", map[string]any{"key": bulkKey, "kinds": []string{"click"}, "count": count}, &json.RawMessage{})
	}
	delivering := func() *metav1.Condition {
		return apimeta.FindStatusCondition(i.cluster.webhook(t, i.objects, "transactional").Status.Conditions, v1alpha1.ConditionDelivering)
	}
	clicks(1000)
	eventually(t, "the status says what refuses batches", func() error {
		condition := delivering()
		if condition == nil || condition.Status != metav1.ConditionFalse {
			return fmt.Errorf("Delivering is %+v", condition)
		}
		for _, want := range []string{"413", "in front of the receiver", "client_max_body_size"} {
			if !strings.Contains(condition.Message, want) {
				return fmt.Errorf("it does not say %q: %s", want, condition.Message)
			}
		}
		return nil
	})
	reload("server {", "server {\n    client_max_body_size 100m;")
	var asked time.Time
	eventually(t, "batches are delivered", func() error {
		if time.Since(asked) > 5*time.Second { // an attempt may have failed for another reason in the meantime: another batch shows it is over
			asked = time.Now()
			clicks(1)
		}
		if condition := delivering(); condition.Status != metav1.ConditionTrue {
			return fmt.Errorf("Delivering is %+v", condition)
		}
		return nil
	})
	eventually(t, "the events arrive", func() error {
		var counts map[string]int
		if err := i.events(t, "/events", &counts); err != nil {
			return err
		}
		if counts["com.mandrill.message.click"] < 1000 {
			return fmt.Errorf("only %v", counts)
		}
		return nil
	})
}

// nginxAddress is one of the node, on which pods reach it.
const nginxAddress = "10.244.0.1:8413"

// startNginx runs Debian's nginx on the node, in front of the receiver's Service, until the test ends. The result changes its
// configuration by replacements.
func (i *installation) startNginx(t *testing.T) (reload func(replacements ...string)) {
	t.Helper()
	folder := t.TempDir()
	upstream := command(t, "kubectl", "get", "service", "mandrill-receiver", "--namespace="+i.release, "--output=jsonpath={.spec.clusterIP}")
	configuration := manifest(t, "testdata/nginx.conf", "FOLDER", folder, "ADDRESS", nginxAddress, "UPSTREAM", upstream)
	path := filepath.Join(folder, "nginx.conf")
	nginx := func(args ...string) {
		t.Helper()
		inCluster(t, append([]string{os.Getenv("E2E_NGINX"), "-p", folder, "-e", folder + "/error.log", "-c", path}, args...)...)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(configuration)
	nginx()
	t.Cleanup(func() {
		cleanUp(t, os.Getenv("E2E_CLUSTER"), "exec", "sh", "-c", "kill $(cat "+folder+"/pid)")
	})
	return func(replacements ...string) {
		t.Helper()
		write(strings.NewReplacer(replacements...).Replace(configuration))
		nginx("-s", "reload")
	}
}
