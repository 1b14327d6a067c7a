package main

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
)

// The renewal of the Lease waits for no other request of the operator, however many there are: it has connections of its own.
func TestTheLeaseSharesNoConnection(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	clients := map[string]map[string]bool{} // the addresses of each path
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if clients[r.URL.Path] == nil {
			clients[r.URL.Path] = map[string]bool{}
		}
		clients[r.URL.Path][r.RemoteAddr] = true
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	config := &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	var managed ctrl.Options
	elect(&managed, config, options{leaderElect: true})
	for range 3 {
		for path, config := range map[string]*rest.Config{"/objects": config, "/lease": managed.LeaderElectionConfig} {
			client, err := rest.HTTPClientFor(config)
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Get(server.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for address := range clients["/lease"] {
		if clients["/objects"][address] {
			t.Errorf("the Lease has the connections %v, other requests %v", clients["/lease"], clients["/objects"])
		}
	}
	if len(clients["/objects"]) != 1 {
		t.Errorf("other requests have the connections %v", clients["/objects"])
	}
}

// The Lease outlives several attempts to renew it that get no answer, and nobody else gets it before the operator has given it up.
func TestTheLeaseOutlivesAttemptsWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	var managed ctrl.Options
	elect(&managed, &rest.Config{}, options{leaderElect: true})
	if *managed.RenewDeadline >= *managed.LeaseDuration || *managed.RenewDeadline < 3**managed.RetryPeriod || !managed.LeaderElectionReleaseOnCancel {
		t.Errorf("the Lease is for %s, given up after %s, and renewed every %s", *managed.LeaseDuration, *managed.RenewDeadline, *managed.RetryPeriod)
	}
}
