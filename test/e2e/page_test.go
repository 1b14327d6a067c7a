package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/mandrill-operator/mandrill-operator/cli"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
)

// The page of all receivers reaches two real pods through the API server and the kubelet, shows the events of both, and has both again
// after one was deleted. With --pod it is the page of one.
func TestPageOfAllReceivers(t *testing.T) {
	t.Parallel()
	i := parallel(t, "paged")
	i.install(t, "receiver.page.enabled=true")
	i.webhooks(t)
	pods := i.cluster.pods(t, i.release, "receiver")
	one := i.openPage(t, "--pod="+pods[1].Name)
	eventually(t, "the page of one receiver shows that it is ready", func() error {
		if state := one.state(t); state.Receiver != pods[1].Name || state.NotReady != "" {
			return fmt.Errorf("%+v", state)
		}
		return nil
	})
	one.close(t)

	all := i.openPage(t)
	load := i.startLoad(t, nil)
	eventually(t, "both receivers are shown", func() error { return all.state(t).shows(i.release, pods[0].Name, pods[1].Name) })
	eventually(t, "events of both are shown", func() error {
		names := all.eventsOf(t)
		if len(names) != 2 {
			return fmt.Errorf("there are events of %v", names)
		}
		return nil
	})
	command(t, "kubectl", "delete", "pod", "--namespace="+i.release, pods[0].Name)
	i.cluster.awaitReady(t, i.release, "receiver", 2)
	eventually(t, "the receiver that was deleted is shown again", func() error {
		return all.state(t).shows(i.release, pods[0].Name, pods[1].Name)
	})
	load.finish(t)
	all.close(t)
}

// shownPage is the page that kubectl mandrill ui shows.
type shownPage struct {
	url    string
	client *http.Client
	cancel context.CancelFunc
	ended  chan int
	errOut *logbuffer.Buffer
}

var pageAddress = regexp.MustCompile(`http://127\.0\.0\.1:\d+/(\?key=[A-Z2-7]+)?`)

// openPage runs kubectl mandrill ui and opens the address that it prints.
func (i *installation) openPage(t *testing.T, args ...string) *shownPage {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	out := &logbuffer.Buffer{}
	p := &shownPage{client: &http.Client{Jar: jar}, cancel: cancel, ended: make(chan int, 1), errOut: &logbuffer.Buffer{}}
	env := &access.Env{
		In: strings.NewReader(""), Out: out, Err: p.errOut, Now: time.Now, Client: &http.Client{},
		Connect: func(*access.Flags) (*access.Cluster, error) {
			config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("E2E_KUBECONFIG"))
			if err != nil {
				return nil, err
			}
			return access.NewCluster(config, i.objects)
		},
	}
	go func() {
		p.ended <- cli.Main(ctx, env, append([]string{"ui", "--receiver-namespace=" + i.release}, args...))
	}()
	eventually(t, "the page has an address", func() error {
		p.url = pageAddress.FindString(out.String())
		if p.url == "" {
			return errors.New(p.errOut.String())
		}
		response, err := p.client.Get(p.url)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
	p.url, _, _ = strings.Cut(p.url, "?")
	return p
}

func (p *shownPage) close(t *testing.T) {
	t.Helper()
	p.cancel()
	if status := <-p.ended; status != output.StatusOK {
		t.Errorf("ui ends with status %d: %s", status, p.errOut.String())
	}
}

// pageState is the state that a page gets.
type pageState struct {
	Receiver, NotReady string
	Receivers          []struct{ Name, Problem, NotReady string }
}

// shows returns an error unless these receivers are shown without a problem.
func (s pageState) shows(namespace string, pods ...string) error {
	ready := map[string]bool{}
	for _, receiver := range s.Receivers {
		ready[receiver.Name] = receiver.Problem == "" && receiver.NotReady == ""
	}
	for _, pod := range pods {
		if !ready[namespace+"/"+pod] {
			return fmt.Errorf("%s is not shown: %+v", pod, s)
		}
	}
	return nil
}

// state returns the first state of a stream.
func (p *shownPage) state(t *testing.T) (state pageState) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"api/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := p.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines, name := bufio.NewScanner(response.Body), ""
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			name = value
		} else if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && name == "state" {
			if err := json.Unmarshal([]byte(data), &state); err != nil {
				t.Fatal(err)
			}
			return state
		}
	}
	t.Fatalf("status %s, and no state came: %v", response.Status, lines.Err())
	return state
}

// eventsOf returns the receivers whose events are shown.
func (p *shownPage) eventsOf(t *testing.T) map[string]int {
	t.Helper()
	response, err := p.client.Get(p.url + "api/events?limit=200")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct{ Events []struct{ Receiver string } }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	names := map[string]int{}
	for _, event := range answer.Events {
		names[event.Receiver]++
	}
	return names
}
