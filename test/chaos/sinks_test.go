package chaos_test

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// answerWith answers with a status.
func answerWith(status int, retryAfter string) behaviour {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(status)
		return true
	}
}

// delayLong accepts after some time.
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
	_, _ = io.Copy(io.Discard, r.Body) // otherwise the end of the request goes unnoticed
	<-r.Context().Done()
	return true
}

// cutConnection closes the connection after some bytes of the event and some of an answer.
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

// Sinks fail in every way. Mandrill gets nothing but 200, and when the sinks work again everything arrives.
func TestFailingSinksLoseNothing(t *testing.T) {
	t.Parallel()
	faults := []struct {
		name string
		bad  behaviour
	}{
		{"slow", delayLong}, {"flapping", failEveryOther}, {"500", answerWith(500, "")}, {"404", answerWith(404, "")},
		{"429 and Retry-After", answerWith(429, "2")}, {"503 and Retry-After", answerWith(503, "1")}, {"hanging", hang},
		{"cut during the event", cutConnection("")}, {"cut during the status", cutConnection("HTTP/1.1 20")}, {"cut during the headers", cutConnection("HTTP/1.1 200 OK\r\nContent-Le")},
	}
	ledger := newLedger()
	sink, downSink := newSinkServer(t, ledger), newSinkServer(t, ledger)
	sink.up()
	for webhook, fault := range faults {
		sink.setBehaviour(webhook, fault.bad)
	}
	downWebhook := len(faults)
	r := newReceiver(t, writeRoutes(t, "timeout: PT1S, backoffDelay: PT0.2S", append(sink.uris(downWebhook), downSink.uri(downWebhook))...))
	r.startAndWait()
	s := newSender(t, ledger, r)
	s.events, s.interval = 20, 100*time.Millisecond
	began := time.Now()
	var senders sync.WaitGroup
	for webhook := range downWebhook + 1 {
		senders.Go(func() {
			for range shortOrLong(25, 600) {
				s.send(webhook, 1)
				elapse(t.Context(), s.interval)
			}
		})
	}
	senders.Wait()
	phase := time.Since(began)
	_, backlog := ledger.count()
	for webhook := range faults {
		sink.setBehaviour(webhook, nil)
	}
	downSink.up()
	recovered := time.Now()
	ledger.awaitDelivery(t)
	took := time.Since(recovered)
	statuses, slowest := s.answers()
	if len(statuses) != 1 || statuses[http.StatusOK] == 0 {
		t.Errorf("Mandrill got the statuses %v, want nothing but 200", statuses)
	}
	if backlog == 0 {
		t.Error("the sinks did not fail")
	}
	if deadLettered := r.metric("mandrill_receiver_dead_lettered_total"); deadLettered > 0 {
		t.Errorf("%v events became dead letters", deadLettered)
	}
	acked, lost := ledger.count()
	addResult("sinks down, slow, flapping, hanging, answering 404, 429, 500 or 503, or cutting the connection, for %s | %d events acknowledged, nothing but 200, slowest answer %s; backlog of %d events delivered within %s; %d lost, %d repeated",
		phase.Round(time.Second), acked, slowest.Round(time.Millisecond), backlog, took.Round(time.Second), lost, ledger.duplicateCount())
}
