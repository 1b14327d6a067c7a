package e2e

import (
	"os"
	"strings"
	"testing"
)

// cert-manager makes the certificate of the Ingress, and those of the members of a clustered buffer. Mandrill posts with TLS.
func TestCertManager(t *testing.T) {
	t.Parallel()
	if os.Getenv("E2E_CERTMANAGER") == "" {
		t.Skip("building cert-manager takes minutes: run make e2e E2E_CERTMANAGER=1")
	}
	i := parallel(t, "secure")
	startCertManager(t)
	i.baseURL, i.mandrillAt = "https://"+startSkipper(t, "secure-ingress"), i.release
	awaitTerminated(t, i.release)
	apply(t, restricted(i.release))
	apply(t, manifest(t, "testdata/issuer.yaml", "NAMESPACE", i.release))
	apply(t, manifest(t, "testdata/mandrill.yaml", // which trusts that issuer
		"e2e", i.release,
		"      automount", "      volumes: [{name: ca, secret: {secretName: ca}}]\n      automount",
		"        ports:", "        env: [{name: SSL_CERT_FILE, value: /ca/tls.crt}]\n        volumeMounts: [{name: ca, mountPath: /ca}]\n        ports:"))
	i.install(t, "ingress.enabled=true", "ingress.controller=skipper", "ingress.tlsSecretName=mandrill-tls", `ingress.annotations.cert-manager\.io/issuer=ca`,
		"receiver.buffer.mode=Cluster", "mandrillAPIURL=http://mandrill."+i.release+":8085/api/1.0")
	i.webhooks(t)
	batchBecomesCloudEvents(t, i)
	noFailedPosts(t, i.startLoad(t, nil).finish(t))
}

// startCertManager runs cert-manager, unless the cluster has it.
func startCertManager(t *testing.T) {
	t.Helper()
	if command(t, "kubectl", "get", "customresourcedefinition", "certificates.cert-manager.io", "--ignore-not-found") != "" {
		return
	}
	folder := strings.TrimSpace(command(t, "go", "-C", "../../hack/certmanager", "list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager"))
	definitions := folder + "/deploy/crds"
	command(t, "kubectl", "apply", "--server-side", "--filename="+definitions)
	apply(t, manifest(t, "testdata/certmanager.yaml"))
	t.Cleanup(func() {
		cleanUp(t, "kubectl", "delete", "clusterrolebinding", "e2e-cert-manager")
		deleteNamespaces(t, "cert-manager")
		cleanUp(t, "kubectl", "delete", "--filename="+definitions, "--wait=false")
	})
	command(t, "kubectl", "rollout", "status", "--namespace=cert-manager", "deployment/cert-manager", "--timeout=5m")
}
