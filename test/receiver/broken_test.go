package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

// A receiver in any broken state takes less than 1 % of a core and 1 kB of log a minute, once the state was logged.
func TestBrokenReceiversAreQuiet(t *testing.T) {
	t.Parallel()
	buffer := func(dir string) []string {
		return []string{"--buffer=embedded", "--buffer-dir", dir, "--buffer-max-bytes=67108864"}
	}
	receivers := map[string]*replica{}
	for name, breakIt := range map[string]func() (args []string, harm func(r *replica) error){
		"the routes file is gone": func() ([]string, func(*replica) error) {
			config := writeRoutes(t, "http://"+freeAddress(t))
			return []string{"--config", config}, func(*replica) error { return os.Remove(config) }
		},
		"the folder of the routes file is gone": func() ([]string, func(*replica) error) {
			config := writeRoutes(t, "http://"+freeAddress(t))
			return []string{"--config", config}, func(*replica) error { return os.RemoveAll(filepath.Dir(config)) }
		},
		"the routes file has another form": func() ([]string, func(*replica) error) {
			config := writeRoutes(t, "http://"+freeAddress(t))
			return []string{"--config", config}, func(*replica) error { return os.WriteFile(config, []byte("routes: 1"), 0o600) }
		},
		"files beside the routes file change": func() ([]string, func(*replica) error) {
			config := writeRoutes(t, "http://"+freeAddress(t))
			return []string{"--config", config}, func(*replica) error {
				for i := range 100 {
					if err := os.WriteFile(filepath.Join(filepath.Dir(config), strconv.Itoa(i)), nil, 0o600); err != nil {
						return err
					}
				}
				return nil
			}
		},
		"the folder of the buffer is gone": func() ([]string, func(*replica) error) {
			dir := filepath.Join(t.TempDir(), "buffer")
			return append(buffer(dir), "--config", writeRoutes(t, "http://"+freeAddress(t))), func(r *replica) error {
				return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600), r.send()) // so that it cannot be made again
			}
		},
		"the sink is gone, and events wait": func() ([]string, func(*replica) error) {
			return append(buffer(t.TempDir()), "--config", writeRoutes(t, "http://"+freeAddress(t))), (*replica).send
		},
		"the NATS server is gone": func() ([]string, func(*replica) error) {
			return []string{"--buffer=nats://" + freeAddress(t), "--buffer-max-bytes=67108864", "--config", writeRoutes(t, "http://"+freeAddress(t))}, nil
		},
	} {
		args, harm := breakIt()
		r := launchReplica(t, args...)
		if harm != nil {
			eventually(t, "the receiver is ready", r.ready)
			if err := harm(r); err != nil {
				t.Fatal(err)
			}
		}
		receivers[name] = r
	}
	const settling, observed = 10 * time.Second, 20 * time.Second
	logged, used := map[string]int{}, map[string]time.Duration{}
	eventually(t, "the states are logged", func() bool {
		<-time.After(settling)
		settled := true
		for name, r := range receivers {
			before := logged[name]
			logged[name], used[name] = len(r.quietLog()), r.cpuTime()
			settled = settled && before == logged[name]
		}
		return settled
	})
	<-time.After(observed)
	for name, r := range receivers {
		if more := r.quietLog()[logged[name]:]; len(more) > int(1000*observed/time.Minute) {
			t.Errorf("%s: it logged %d bytes in %s:\n%.2000s", name, len(more), observed, more)
		}
		if took := r.cpuTime() - used[name]; took > observed/100 {
			t.Errorf("%s: it took %s of CPU time in %s", name, took, observed)
		}
	}
}

// send posts a batch. Any answer will do.
func (r *replica) send() error {
	request, err := mandrilltest.NewRequest(context.Background(), "http://"+r.address+"/hook", hookURL, signingKey, mandrilltest.Batch([]byte(`{"event":"open"}`)))
	if err != nil {
		return err
	}
	response, err := loopback.Client.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// quietLog returns the log without what the NATS server says of a slow machine.
func (r *replica) quietLog() string {
	lines := slices.Collect(strings.Lines(r.log.String()))
	return strings.Join(slices.DeleteFunc(lines, journaltest.SaysSlowMachine), "")
}

// cpuTime returns the CPU time that the process has used, in hundredths of a second.
func (r *replica) cpuTime() time.Duration {
	r.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.process.Process.Pid))
	if err != nil {
		r.t.Skip("CPU time is read from /proc: ", err)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	fields, ticks := strings.Fields(after), 0
	for _, field := range fields[11:13] { // utime and stime
		count, err := strconv.Atoi(field)
		if err != nil {
			r.t.Fatal(err)
		}
		ticks += count
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
