package monitoring_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
)

// front ends TLS in front of the receiver, as an ingress does.
type front struct {
	*httptest.Server

	certificate atomic.Pointer[tls.Certificate]
}

// startFront starts one whose certificate is valid for long.
func startFront(t *testing.T, receiver string) *front {
	t.Helper()
	f := &front{}
	f.Server = httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: receiver}))
	f.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*f.certificate.Load()}}, nil
	}}
	f.present(t, 90*24*time.Hour)
	f.StartTLS()
	t.Cleanup(f.Close)
	return f
}

// present replaces the certificate by one that is valid for so long.
func (f *front) present(t *testing.T, valid time.Duration) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(valid), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	f.certificate.Store(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
}

// trusting is a client for which any certificate is good, and that follows no redirects, as Mandrill.
func trusting() *http.Client {
	return &http.Client{
		Timeout:       30 * time.Second,
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// receiverToken returns a token of the receiver's account for reports.
func receiverToken(t *testing.T, admin client.Client) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{reports.Audience}}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "mandrill-operator-system", Name: "mandrill-receiver"}}
	if err := admin.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// writeToken replaces the receiver's token, as the kubelet does.
func (s *stack) writeToken(t *testing.T, token string) {
	t.Helper()
	if err := os.WriteFile(s.token, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
}
