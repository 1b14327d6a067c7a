// Command previous runs the previous minor version of the NATS server on a directory, with the settings of the embedded
// server, and prints its URL. It ends when its standard input does.
package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	maxPayload   = 8 << 20 // as engine.MaxPayload
	startTimeout = 20 * time.Second
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: previous STORE-DIR")
		os.Exit(2)
	}
	running, err := server.NewServer(&server.Options{
		ServerName: "receiver", StoreDir: os.Args[1], Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, SyncAlways: true, MaxPayload: maxPayload, MaxPending: 8 * maxPayload, NoSigs: true, NoLog: true,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	running.Start()
	if !running.ReadyForConnections(startTimeout) {
		fmt.Fprintln(os.Stderr, "the server does not start")
		os.Exit(1)
	}
	fmt.Println(running.ClientURL(), server.VERSION)
	_, _ = io.Copy(io.Discard, os.Stdin)
	running.Shutdown()
	running.WaitForShutdown()
}
