package chaos_test

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// answering refuses events with a status.
func answerWith(status int, retryAfter string) behaviour {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(status)
		return true
	}
}

// slow takes its time and accepts.
func delayLong(_ http.ResponseWriter, r *http.Request) bool {
	select {
	case <-time.After(300 * time.Millisecond):
	case <-r.Context().Done():
		return true
	}
	return false
}

func failEveryOther(w http.ResponseWriter, _ *http.Request) bool {
	if time.Now().UnixMilli()/300%2 == 0 {
		return false
	}
	w.WriteHeader(http.StatusInternalServerError)
	return true
}

func hang(_ http.ResponseWriter, r *http.Request) bool {
	_, _ = io.Copy(io.Discard, r.Body) // else the end of the request is not noticed
	<-r.Context().Done()
	return true
}

// cutting ends the connection after some bytes of the event and some of an answer.
func cutConnection(answer string) behaviour {
	return func(w http.ResponseWriter, r *http.Request) bool {
		_, _ = io.ReadFull(r.Body, make([]byte, 10))
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err) // it is HTTP/1.1
		}
		_, _ = io.WriteString(conn, answer)
		_ = conn.Close()
		return true
	}
}

// While sinks fail in every way Mandrill sees 200 alone, and when they work again everything arrives.
func TestFailingSinksLoseNothing(t *testing.T) {
	t.Parallel()
	faults := []struct {
		name string
		bad  behaviour
	}{
		{"slow", delayLong}, {"flapping", failEveryOther}, {"500", answerWith(500, "")}, {"404", answerWith(404, "")},
		{"429 and Retry-After", answerWith(429, "2")}, {"503 and Retry-After", answerWith(503, "1")}, {"hanging", hang},
		{"cut in the event", cutConnection("")}, {"cut in the status", cutConnection("HTTP/1.1 20")}, {"cut in the header", cutConnection("HTTP/1.1 200 OK\r\nContent-Le")},
	}
	book := newLedger()
	sink, gone := newSinkServer(t, book), newSinkServer(t, book)
	sink.up()
	for webhook, fault := range faults {
		sink.setBehaviour(webhook, fault.bad)
	}
	down := len(faults)
	r := newReceiver(t, writeRoutes(t, "timeout: PT1S, backoffDelay: PT0.2S", append(sink.uris(down), gone.uri(down))...))
	r.startAndWait()
	s := newSender(book, r)
	s.events, s.interval = 20, 100*time.Millisecond
	bad := time.Now()
	var senders sync.WaitGroup
	for webhook := range down + 1 {
		senders.Go(func() {
			for range shortOrLong(25, 600) {
				s.send(t.Context(), webhook, 1)
				<-time.After(s.interval)
			}
		})
	}
	senders.Wait()
	phase := time.Since(bad)
	_, backlog := book.count()
	for webhook := range faults {
		sink.setBehaviour(webhook, nil)
	}
	gone.up()
	recovered := time.Now()
	book.awaitDelivery(t)
	took := time.Since(recovered)
	statuses, slowest := s.answers()
	if len(statuses) != 1 || statuses[http.StatusOK] == 0 {
		t.Errorf("Mandrill got the answers %v, want 200 alone", statuses)
	}
	if backlog == 0 {
		t.Error("the sinks did not fail")
	}
	if buried := r.metric("mandrill_receiver_dead_lettered_total"); buried > 0 {
		t.Errorf("%v events were given up", buried)
	}
	acked, lost := book.count()
	addResult("sinks: down, slow, flapping, 404, 429, 500, 503, hanging, cutting, for %s | %d events acknowledged, 200 alone, the slowest after %s; %d waited at the end of it, all arrived %s later; %d lost, %d twice",
		phase.Round(time.Second), acked, slowest.Round(time.Millisecond), backlog, took.Round(time.Second), lost, book.duplicateCount())
}
