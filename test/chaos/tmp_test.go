package chaos_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/chaos/unsynced"
)

func TestTmpApart(t *testing.T) {
	order := unsynced.Order(os.Getenv("ORDER"))
	p := newPowered(t, order)
	book := newLedger()
	sink := newConsumer(t, book)
	r := newReceiver(t, writeRoutes(t, "backoffDelay: PT0.1S, retry: 100", sink.uris(1)...), "--buffer-max-bytes", "1073741824")
	r.dir = filepath.Join(p.path, "buffer")
	r.args = append(r.args, "--buffer-dir", r.dir)
	var senders sync.WaitGroup
	sending, stop := context.WithCancel(t.Context())
	s := newSender(book, r)
	s.events, s.padding, s.pace, s.pause = 600, noise(32<<10), 300*time.Millisecond, 300*time.Millisecond
	senders.Go(func() { s.run(sending, t.Context(), 0) })
	for n := range 25 {
		if n%6 == 2 {
			sink.up()
		}
		if n%6 == 4 {
			sink.down()
		}
		p.fail(r, book, false)
		acked, waiting := book.count()
		t.Log(acked, waiting)
	}
	r.wrap = p.wrap()
	r.started()
	stop()
	senders.Wait()
	if sink.server == nil {
		sink.up()
	}
	book.settle(t)
	acked, lost := book.count()
	t.Logf("%d events, %d lost %d duplicates, the log: %v", acked, lost, book.duplicates, r.said("WARN", "ERROR"))
	t.Logf("answers %v", s.statuses)
}
