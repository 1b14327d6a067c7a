package receiver_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
)

// keyPair returns a self-signed certificate for localhost and its key, as PEM.
func keyPair(t *testing.T, serial int64) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

// A renewal must not need a restart. Files that cannot be loaded, such as half of a renewal, leave the last good certificate in use.
func TestRenewedCertificateIsUsedWithoutRestart(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	certFile, keyFile := filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	write := func(cert, key []byte) {
		t.Helper()
		for path, data := range map[string][]byte{certFile: cert, keyFile: key} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	var elapsed atomic.Int64
	now := func() time.Time { return time.Unix(elapsed.Load(), 0) }
	log := &logbuffer.Buffer{}
	logger := slog.New(slog.NewJSONHandler(log, nil))
	if _, err := receiver.NewCertificate(certFile, keyFile, logger, now); err == nil {
		t.Error("files that do not exist were accepted")
	}
	write([]byte("nonsense"), nil)
	if _, err := receiver.NewCertificate(certFile, keyFile, logger, now); err == nil {
		t.Error("files without a certificate were accepted")
	}
	first, firstKey := keyPair(t, 1)
	second, secondKey := keyPair(t, 2)
	write(first, firstKey)
	certificate, err := receiver.NewCertificate(certFile, keyFile, logger, now)
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, &receiver.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), Logger: logger, TLS: certificate.Config()})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(append(bytes.Clone(first), second...))
	serial := func(want int64) {
		t.Helper()
		connection, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		if got := connection.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != want {
			t.Errorf("the certificate is number %d, want %d", got, want)
		}
	}
	serial(1)
	write(second, secondKey)
	serial(1) // files are checked at intervals, and the last check was a moment ago
	elapsed.Add(11)
	serial(2)
	write(first, secondKey) // half of a renewal
	elapsed.Add(11)
	serial(2)
	if !bytes.Contains([]byte(log.String()), []byte("Could not reload the certificate, the last good one stays")) {
		t.Error("the unusable files were not logged")
	}
	write(first, firstKey)
	elapsed.Add(11)
	serial(1)
}

// serve runs a server until the test ends, and returns its address.
func serve(t *testing.T, server *receiver.Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server.Listener = listener
	done := make(chan error, 1)
	go func() { done <- server.Serve(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// Some ingresses speak HTTP/2 without TLS to their backends.
func TestHTTP1AndCleartextHTTP2AreServed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	address := serve(t, &receiver.Server{Handler: f.Config.Handler, Logger: slog.New(slog.DiscardHandler)})
	for version, protocols := range map[int]func(*http.Protocols){
		1: func(p *http.Protocols) { p.SetHTTP1(true) },
		2: func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) },
	} {
		transport := &http.Transport{Protocols: new(http.Protocols)}
		protocols(transport.Protocols)
		request := f.request(t, `[{"event":"open"}]`)
		request.URL.Scheme, request.URL.Host, request.RequestURI = "http", address, ""
		response, err := (&http.Client{Transport: transport}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK || response.ProtoMajor != version {
			t.Errorf("got %d over %s, want 200 over HTTP/%d", response.StatusCode, response.Proto, version)
		}
		transport.CloseIdleConnections()
	}
}
