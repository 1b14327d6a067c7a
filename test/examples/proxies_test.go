package examples_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

// certificate writes a certificate for 127.0.0.1 into files, and returns a client that trusts it.
func certificate(t *testing.T) (certificate, key string, client *http.Client) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	der, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	certificate, key = filepath.Join(folder, "certificate"), filepath.Join(folder, "key")
	for path, block := range map[string]*pem.Block{
		certificate: {Type: "CERTIFICATE", Bytes: server.Certificate().Raw}, key: {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	client = server.Client()
	client.Timeout = patience
	return certificate, key, client
}

func readExample(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(root + "/examples/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// proxy starts a proxy in front of a receiver, with the configuration that is in examples/proxies, changed as replace says.
type proxy func(t *testing.T, address, receiver, certificate, key string, replace ...string) *process

func startNginx(t *testing.T, address, receiver, certificate, key string, replace ...string) *process {
	t.Helper()
	nginx, folder := findProgram(t, "NGINX", "nginx"), t.TempDir()
	server := strings.NewReplacer(append(replace, "listen 443 ssl", "listen "+address+" ssl", "http://127.0.0.1:8080", "http://"+receiver,
		"/etc/ssl/hooks.example.com.pem", certificate, "/etc/ssl/hooks.example.com.key", key)...).Replace(readExample(t, "proxies/nginx.conf"))
	config := filepath.Join(folder, "nginx.conf")
	user := ""
	if os.Getuid() == 0 {
		user = "user root;\n"
	}
	var temporary strings.Builder
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temporary, "%s_temp_path %s/%s;\n", name, folder, name)
	}
	whole := user + "daemon off;\nmaster_process off;\npid " + folder + "/pid;\nerror_log stderr;\nevents {}\n" +
		"http {\naccess_log off;\n" + temporary.String() + server + "}\n"
	if err := os.WriteFile(config, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	check := exec.Command(nginx, "-t", "-q", "-c", config, "-p", folder, "-e", "stderr")
	check.Env = libraries()
	if output, err := check.CombinedOutput(); err != nil || len(output) > 0 {
		t.Fatalf("nginx -t: %v\n%s", err, output)
	}
	return run(t, libraries(), nginx, "-c", config, "-p", folder, "-e", "stderr")
}

func startCaddy(t *testing.T, address, receiver, certificate, key string, replace ...string) *process {
	t.Helper()
	caddy, folder := findProgram(t, "CADDY", "caddy"), t.TempDir()
	example := readExample(t, "proxies/Caddyfile")
	// As it is, and as it is started here: without HTTP/3, whose UDP port package loopback holds.
	for name, text := range map[string]string{
		"example": example,
		"Caddyfile": "{\n\tadmin off\n\tauto_https disable_redirects\n\tservers {\n\t\tprotocols h1 h2\n\t}\n}\n" + strings.NewReplacer(append(replace,
			"hooks.example.com {", "https://"+address+" {\n\ttls "+certificate+" "+key, "127.0.0.1:8080", receiver)...).Replace(example),
	} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		check := exec.Command(caddy, "validate", "--adapter", "caddyfile", "--config", path)
		check.Env = append(os.Environ(), "HOME="+folder)
		if output, err := check.CombinedOutput(); err != nil {
			t.Fatalf("caddy validate: %v\n%s", err, output)
		}
	}
	return run(t, []string{"HOME=" + folder}, caddy, "run", "--adapter", "caddyfile", "--config", filepath.Join(folder, "Caddyfile"))
}

// proxies are those that can be started here, with what allows a slow answer, and the same for one second only.
var proxies = map[string]struct {
	start       proxy
	slow, quick string
	limit, less string
}{
	"nginx": {startNginx, "proxy_read_timeout 120s", "proxy_read_timeout 1s", "client_max_body_size 100m;", ""},
	"Caddy": {startCaddy, "response_header_timeout 120s", "response_header_timeout 1s", "max_size 100MiB", "max_size 1MiB"},
}

// A proxy passes large bodies, waits for a slow answer, and leaves the path as it came; without the lines of the example it does not.
func TestProxyPassesLargeBodiesAndSlowAnswers(t *testing.T) {
	t.Parallel()
	for name, test := range proxies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const path, pause = "/mandrill/shop%2Fparcels?token=a%20b", 3 * time.Second
			var arrived atomic.Int64
			sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.ContentLength < 1000 {
					<-time.After(pause)
				}
				arrived.Add(1)
			}))
			t.Cleanup(sink.Close)
			l := newLab(t)
			good, short := freeAddress(t), freeAddress(t)
			for _, address := range []string{good, short} {
				l.document.Routes = append(l.document.Routes, routes.Route{
					Name: "examples/" + address, URL: "https://" + address + path, Source: "/s", Sink: routes.Sink{URI: sink.URL}, Keys: []string{"key"},
					Delivery: routes.Delivery{Mode: "Direct", Timeout: "PT30S"},
				})
			}
			certificate, key, client := certificate(t)
			awaitProxy := func(address string, replace ...string) {
				p := test.start(t, address, l.address, certificate, key, replace...)
				poll.NoError(t, patience, "the proxy answers", func() error {
					response, err := client.Get("https://" + address + "/")
					if err != nil {
						select {
						case <-p.ended:
							t.Fatalf("it ended:\n%s", p.log.String())
						default:
						}
						return err
					}
					return response.Body.Close()
				})
			}
			awaitProxy(good)
			awaitProxy(short, test.slow, test.quick, test.limit, test.less)
			l.start()
			post := func(address string, events ...[]byte) int {
				url := "https://" + address + path
				request, err := mandrilltest.NewRequest(t.Context(), url, url, "key", mandrilltest.Batch(events...))
				if err != nil {
					t.Fatal(err)
				}
				response, err := client.Do(request)
				if err != nil {
					t.Logf("no answer: %v", err)
					return 0
				}
				_ = response.Body.Close()
				return response.StatusCode
			}
			slow := []byte(`{"event":"open","_id":"1","ts":1}`)
			if status := post(good, large(t, 60<<20)); status != http.StatusOK {
				t.Errorf("60 MB got %d", status)
			}
			if status := post(good, slow); status != http.StatusOK {
				t.Errorf("a slow answer got %d", status)
			}
			if got := arrived.Load(); got != 2 {
				t.Errorf("%d events arrived", got)
			}
			if status := post(short, slow); status != http.StatusGatewayTimeout {
				t.Errorf("with %s, a slow answer got %d", test.quick, status)
			}
			if status := post(short, large(t, 2<<20)); status == http.StatusOK {
				t.Errorf("without %s, 2 MB got 200", test.limit)
			}
		})
	}
}
