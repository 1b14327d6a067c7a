package receiver

import (
	"net/http"
	"time"
)

// bodyDeadline ends a body that comes too slowly, by a read deadline that moves as bytes arrive. While memory is plentiful a
// body has readTimeout. While it is scarce, the buffer that a body was given must be full soon. So slow senders keep at most
// half of the memory for long, and the other half is for those that send.
type bodyDeadline struct {
	control *http.ResponseController
	memory  *byteLimiter
	last    time.Time // the latest deadline, however much arrives
	current time.Time
}

func newBodyDeadline(w http.ResponseWriter, memory *byteLimiter) *bodyDeadline {
	last := time.Now().Add(readTimeout)
	return &bodyDeadline{http.NewResponseController(w), memory, last, last}
}

// extend gives the sender time for as many bytes.
func (d *bodyDeadline) extend(bytes int64) {
	d.set(d.last)
	if d.memory.scarce() {
		d.shorten(scarceGrace + timeFor(bytes))
	}
}

// timeFor is how long a sender has for bytes while memory is scarce.
func timeFor(bytes int64) time.Duration { return time.Duration(bytes) * (time.Second / scarceRate) }

// suspend is for time that the receiver takes, such as waiting for memory.
func (d *bodyDeadline) suspend() { d.set(d.last) }

// suspendFor is for work of the receiver. Afterwards the sender has the time that it had before, and time for as many bytes as the work
// returns.
func (d *bodyDeadline) suspendFor(work func() (more int64)) {
	began, before := time.Now(), d.current
	d.suspend()
	more := work()
	if after := before.Add(time.Since(began) + timeFor(more)); after.Before(d.last) {
		d.set(after)
	}
}

// shortenForRefusal limits the rest of a body that was refused: the server reads to its end, mostly before it answers.
func (d *bodyDeadline) shortenForRefusal() { d.shorten(refusedGrace) }

func (d *bodyDeadline) shorten(remaining time.Duration) {
	if soon := time.Now().Add(remaining); soon.Before(d.current) {
		d.set(soon)
	}
}

func (d *bodyDeadline) set(deadline time.Time) {
	if deadline.Equal(d.current) {
		return
	}
	d.current = deadline
	_ = d.control.SetReadDeadline(deadline) // the server supports it; a recorder in tests does not
}
