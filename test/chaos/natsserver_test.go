package chaos_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// The NATS server of receivers that share a buffer is this test's program with these variables, so that it can run in a network
// namespace.
const (
	natsAddressVariable = "MANDRILL_CHAOS_NATS_ADDRESS"
	natsStoreVariable   = "MANDRILL_CHAOS_NATS_STORE"
)

// serveNATS runs a server until the process is told to stop.
func serveNATS(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	running, err := server.NewServer(&server.Options{
		ServerName: "nats", Host: host, Port: number, JetStream: true, StoreDir: os.Getenv(natsStoreVariable), NoSigs: true, NoLog: true,
	})
	if err != nil {
		return err
	}
	running.Start()
	if !running.ReadyForConnections(20 * time.Second) {
		return errors.New("the NATS server does not start")
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	<-told
	running.Shutdown()
	return nil
}

// startNATS starts a server at an address, in a namespace if the launcher enters one, and returns its URL.
func startNATS(t *testing.T, address string, launcher ...string) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := slices.Concat(launcher, []string{program})
	process := exec.Command(command[0], command[1:]...)
	process.Env = append(os.Environ(), natsAddressVariable+"="+address, natsStoreVariable+"="+t.TempDir())
	process.Stderr = os.Stderr
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // even if the test is killed
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer time.AfterFunc(awaitTimeout, func() { _ = process.Process.Kill() }).Stop()
		_ = process.Process.Signal(syscall.SIGTERM)
		_ = process.Wait()
	})
	return fmt.Sprintf("nats://%s", address)
}
