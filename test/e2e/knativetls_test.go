package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// serverSecrets are the Secrets with certificates that Knative's servers read, by the names of their Services. Its documents have
// cert-manager make them.
var serverSecrets = map[string]string{
	"broker-ingress": "mt-broker-ingress-server-tls", "broker-filter": "mt-broker-filter-server-tls", "imc-dispatcher": "imc-dispatcher-server-tls",
}

// setFeature switches a feature of Knative.
func setFeature(t *testing.T, feature, value string) {
	t.Helper()
	command(t, "kubectl", "patch", "configmap", "config-features", "--namespace="+eventing, "--type=merge",
		fmt.Sprintf(`--patch={"data": {%q: %q}}`, feature, value))
}

// With the feature transport-encryption Knative takes events by HTTPS only. The Broker publishes its authority, which the receiver
// trusts without any setting.
func transportEncryption(t *testing.T, i *installation) {
	authority := newAuthority(t)
	for service, secret := range serverSecrets {
		host := service + "." + eventing + ".svc"
		if err := i.cluster.client.Create(t.Context(), authority.secret(t, secret, host, host+".cluster.local")); err != nil {
			t.Fatal(err)
		}
	}
	setFeature(t, "transport-encryption", "strict")
	i.replaceBroker(t)
	eventually(t, "the sink has the Broker's authority", func() error {
		status := i.cluster.webhook(t, i.objects, "load").Status
		if !strings.HasPrefix(status.SinkURI, "https://") || status.SinkCACerts != string(authority.pem) {
			return fmt.Errorf("the sink is %s with the authority %q", status.SinkURI, status.SinkCACerts)
		}
		return nil
	})
	i.cluster.awaitCondition(t, i.objects, "load", v1alpha1.ConditionReady, metav1.ConditionTrue)
	noFailedPosts(t, i.startLoad(t, nil).finish(t))
}

// With the feature authentication-oidc the Broker wants a token for its audience, and a policy that names the receiver's account.
func oidc(t *testing.T, i *installation) {
	setFeature(t, "authentication-oidc", "enabled")
	i.replaceBroker(t)
	audience := "eventing.knative.dev/broker/" + i.objects + "/default"
	eventually(t, "the object says which audience the receiver needs a token for", func() error {
		condition := apimeta.FindStatusCondition(i.cluster.webhook(t, i.objects, "load").Status.Conditions, v1alpha1.ConditionSinkProvided)
		if condition == nil || condition.Reason != v1alpha1.ReasonSinkUnsupported || !strings.Contains(condition.Message, audience) {
			return fmt.Errorf("%+v", condition)
		}
		return nil
	})
	i.upgrade(t, "sinks.audiences={"+audience+"}")
	i.cluster.awaitCondition(t, i.objects, "load", v1alpha1.ConditionReady, metav1.ConditionTrue)
	t.Run("WithoutPolicy", func(t *testing.T) { refusedByPolicy(t, i) })
	apply(t, i.documentedManifest(t, "kind: EventPolicy"))
	eventually(t, "the policy applies", func() error {
		policies := command(t, "kubectl", "get", "broker", "default", "--namespace="+i.objects, "--output=jsonpath={.status.policies[*].name}")
		if policies != "mandrill-receiver" {
			return errors.New("the Broker has the policies " + policies)
		}
		return nil
	})
	noFailedPosts(t, i.startLoad(t, nil).finish(t))
}

// Without a policy, Brokers take events from accounts of their own namespace only. What is refused is kept as a dead letter.
func refusedByPolicy(t *testing.T, i *installation) {
	i.mandrillSends(t, 3, "hard_bounce")
	eventually(t, "the object shows the refusal", func() error {
		delivery := i.cluster.webhook(t, i.objects, "knative-broker").Status.Delivery
		if delivery == nil || delivery.DeadLetters != 3 || delivery.LastFailure == nil || delivery.LastFailure.Status != http.StatusForbidden {
			return fmt.Errorf("%+v", delivery)
		}
		return nil
	})
}

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{certificate: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "e2e"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	a.key, a.pem = a.sign(t, a.certificate)
	return a
}

// sign makes a key and a certificate for it. An authority without a key signs its own.
func (a *authority) sign(t *testing.T, certificate *x509.Certificate) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := key
	if a.key != nil {
		signer = a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, a.certificate, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// secret is one as cert-manager makes it for a server of Knative.
func (a *authority) secret(t *testing.T, name string, hosts ...string) *corev1.Secret {
	t.Helper()
	key, certificate := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: hosts, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: eventing, Name: name}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{
			"ca.crt": a.pem, corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: bytes.TrimSpace(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		},
	}
}
