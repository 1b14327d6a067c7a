package e2e

import (
	"os"
	"testing"
)

const certManager = "cert-manager"

// cert-manager makes the certificate of the Ingress, and those of the members of a clustered buffer. Mandrill checks the URL and posts
// with TLS, and trusts the authority of that certificate.
func TestCertManager(t *testing.T) {
	t.Parallel()
	connect(t)
	if definitions := startCertManager(t); definitions != "" {
		t.Cleanup(func() {
			cleanUp(t, "kubectl", "delete", "clusterrolebinding", "e2e-cert-manager")
			deleteNamespaces(t, certManager)
			cleanUp(t, "kubectl", "delete", "--filename="+definitions, "--wait=false")
		})
	}
	i := parallel(t, "secure")
	i.baseURL, i.mandrillAt = "https://"+startSkipper(t, "secure-ingress"), i.release
	awaitTerminated(t, i.release)
	apply(t, restricted(i.release))
	apply(t, manifest(t, "testdata/issuer.yaml", "NAMESPACE", i.release))
	apply(t, manifest(t, "testdata/mandrill.yaml",
		"e2e", i.release,
		"      automount", "      volumes: [{name: ca, secret: {secretName: ca}}]\n      automount",
		"        ports:", "        env: [{name: SSL_CERT_FILE, value: /ca/tls.crt}]\n        volumeMounts: [{name: ca, mountPath: /ca}]\n        ports:"))
	i.install(t, "ingress.enabled=true", "ingress.controller=skipper", "ingress.tlsSecretName=mandrill-tls", `ingress.annotations.cert-manager\.io/issuer=ca`,
		"receiver.buffer.mode=Cluster", "mandrillAPIURL=http://mandrill."+i.release+":8085/api/1.0")
	i.webhooks(t)
	batchBecomesCloudEvents(t, i)
	noFailedPosts(t, i.startLoad(t, nil).finish(t))
}

// startCertManager runs cert-manager and returns the file with its CRDs, or nothing if the cluster has cert-manager already.
func startCertManager(t *testing.T) (definitions string) {
	t.Helper()
	if command(t, "kubectl", "get", "customresourcedefinition", "certificates.cert-manager.io", "--ignore-not-found") != "" {
		return ""
	}
	definitions = os.Getenv("E2E_CERTMANAGER") // of hack/e2e.sh
	if definitions == "" {
		t.Skip("cert-manager is not built: run make e2e")
	}
	command(t, "kubectl", "apply", "--server-side", "--filename="+definitions)
	apply(t, manifest(t, "testdata/certmanager.yaml"))
	command(t, "kubectl", "rollout", "status", "--namespace="+certManager, "deployment/cert-manager", "--timeout=5m")
	return definitions
}
