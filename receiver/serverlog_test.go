package receiver_test

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
)

// net/http logs addresses and what clients send. The server's log must have neither, but say where a panic was.
func TestServerLogHasNoAddresses(t *testing.T) {
	t.Parallel()
	log := &logbuffer.Buffer{}
	certificate, key := keyPair(t, 1)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, &receiver.Server{
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("s3ntinel") }),
		Logger:  slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		TLS:     &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
	})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: 30 * time.Second}
	for _, url := range []string{"https://" + address + "/s3ntinel", "http://" + address + "/s3ntinel"} {
		if response, err := client.Get(url); err == nil {
			_ = response.Body.Close()
		}
	}
	for _, want := range []string{"Recovered from a panic", "serverlog_test.go", `"Could not serve a connection","fault":"TLS handshake"`} {
		if !eventually(func() bool { return strings.Contains(log.String(), want) }) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if text := log.String(); strings.Contains(text, "s3ntinel") || strings.Contains(text, "127.0.0.1") {
		t.Errorf("the log has an address or what the client sent:\n%s", text)
	}
}
