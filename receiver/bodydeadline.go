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

// postpone gives the sender time for more bytes, if its time is limited.
func (d *bodyDeadline) postpone(bytes int64) {
	if bytes == 0 || !d.current.Before(d.last) {
		return
	}
	later := d.current.Add(timeFor(bytes))
	if later.After(d.last) {
		later = d.last
	}
	d.set(later)
}

// timeFor is how long a sender has for bytes while memory is scarce.
func timeFor(bytes int64) time.Duration { return time.Duration(bytes) * (time.Second / scarceRate) }

// suspend is for time that the receiver takes, such as waiting for memory.
func (d *bodyDeadline) suspend() { d.set(d.last) }

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
