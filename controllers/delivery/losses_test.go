package delivery_test

import (
	"testing"
	"time"

	form "github.com/mandrill-operator/mandrill-operator/api/reports"
)

func buffered(id string) func(*form.Report) {
	return func(r *form.Report) {
		r.Buffer = &form.Buffer{ID: id, State: form.BufferAvailable, Delivers: true}
	}
}

func TestDeadLettersAreReported(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	webhook := working()
	webhook.DeadLetters = 4 // from long ago
	f.keepReporting(3*time.Minute, shared, buffered("b"), webhook)
	f.assert("Delivered", "True", "Succeeded", "")
	f.wantEvents()
	webhook.DeadLetters = 6
	f.keepReporting(time.Minute, shared, buffered("b"), webhook)
	f.assert("Delivered", "False", "DeadLettering", "receiver dead-letters list")
	f.wantEvents("Warning DeadLettered 2 events were given up and became dead letters, of which there are 6 now")
	if got := f.delivery().DeadLetters; got != 6 {
		t.Errorf("status.delivery has %d dead letters", got)
	}
	for range 10 {
		webhook.DeadLetters++
		f.keepReporting(30*time.Second, shared, buffered("b"), webhook)
	}
	f.wantEvents() // at most hourly
	f.keepReporting(11*time.Minute, shared, buffered("b"), webhook)
	f.assert("Delivered", "True", "Succeeded", "")
	f.keepReporting(time.Hour, shared, buffered("b"), webhook)
	f.wantEvents("Warning DeadLettered 10 events were given up")
	webhook.DeadLetters = 0 // redriven
	f.keepReporting(3*time.Minute, shared, buffered("b"), webhook)
	f.wantEvents()
	if got := f.delivery().DeadLetters; got != 0 {
		t.Errorf("status.delivery has %d dead letters", got)
	}
}

// Dead letters that came while the operator was away are reported, those from before are not reported again.
func TestDeadLettersAreNotReportedTwice(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	webhook := working()
	webhook.DeadLetters = 4
	f.keepReporting(3*time.Minute, shared, buffered("b"), webhook)
	f.restart()
	f.keepReporting(3*time.Minute, shared, buffered("b"), webhook)
	f.wantEvents()
	f.restart()
	webhook.DeadLetters = 5
	f.keepReporting(3*time.Minute, shared, buffered("b"), webhook)
	f.wantEvents("Warning DeadLettered 1 event was given up and became a dead letter, one of 5 now")
	f.instances["r-0"] = "2" // the receiver restarts, or another one takes the buffer over
	f.keepReporting(3*time.Minute, shared1, buffered("b"), webhook)
	f.wantEvents()
}

func TestLostMessagesAreReported(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keepReporting(3*time.Minute, shared, buffered("b"), working())
	webhook := working()
	webhook.LostMessages = 5
	f.instances["r-0"] = "2" // which finds that when it starts
	f.keepReporting(time.Minute, shared, buffered("b"), webhook)
	f.wantEvents("Warning MessagesLost 5 stored batches vanished from a receiver's buffer")
	if got := f.delivery().LostMessages; got != 5 {
		t.Errorf("status.delivery has %d lost messages", got)
	}
	f.keepReporting(time.Hour, shared, buffered("b"), webhook)
	f.restart()
	f.keepReporting(3*time.Minute, shared, buffered("b"), webhook)
	f.wantEvents()
	f.instances["r-0"] = "3"
	f.keepReporting(3*time.Minute, shared, buffered("b"), working())
	webhook.LostMessages = 2
	f.keepReporting(3*time.Minute, shared, buffered("b"), webhook)
	f.wantEvents("Warning MessagesLost 2 stored batches")
	if got := f.delivery().LostMessages; got != 7 {
		t.Errorf("status.delivery has %d lost messages", got)
	}
}

// Two receivers that share a buffer see the same loss.
func TestALossOfASharedBufferCountsOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	webhook := working()
	f.keepReporting(3*time.Minute, shared, buffered("b"), webhook)
	webhook.LostMessages = 5
	for range 6 {
		if err := f.send(shared, buffered("b"), webhook); err != nil {
			t.Fatal(err)
		}
		f.advance(10 * time.Second)
		if err := f.send(shared1, buffered("b"), webhook); err != nil {
			t.Fatal(err)
		}
		f.advance(20 * time.Second)
	}
	f.wantEvents("Warning MessagesLost 5 stored batches")
	if got := f.delivery().LostMessages; got != 5 {
		t.Errorf("status.delivery has %d lost messages", got)
	}
}
