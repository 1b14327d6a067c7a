package receiver

import (
	"net/http"
	"time"
)

// pace ends a body that comes too slowly, by a read deadline that is put off as bytes come. While there is plenty of
// memory a body has readTimeout. While it is scarce, what a body has been given must be full soon. So slow senders keep
// half of the memory for long at most, and not the other half from those who send.
type bodyDeadline struct {
	control *http.ResponseController
	memory  *byteLimiter
	last    time.Time // however much comes
	until   time.Time
}

func newBodyDeadline(w http.ResponseWriter, memory *byteLimiter) *bodyDeadline {
	last := time.Now().Add(readTimeout)
	return &bodyDeadline{http.NewResponseController(w), memory, last, last}
}

// expect gives the sender time for as many bytes.
func (p *bodyDeadline) extend(bytes int64) {
	p.set(p.last)
	if p.memory.scarce() {
		p.shorten(scarceGrace + time.Duration(bytes)*(time.Second/scarceRate))
	}
}

// pause is for a while that is not the sender's, but ours.
func (p *bodyDeadline) suspend() { p.set(p.last) }

// dismiss is for the rest of a body that was refused: the server looks for its end, mostly before it answers.
func (p *bodyDeadline) shortenForRefusal() { p.shorten(refusedGrace) }

func (p *bodyDeadline) shorten(left time.Duration) {
	if soon := time.Now().Add(left); soon.Before(p.until) {
		p.set(soon)
	}
}

func (p *bodyDeadline) set(deadline time.Time) {
	if deadline.Equal(p.until) {
		return
	}
	p.until = deadline
	_ = p.control.SetReadDeadline(deadline) // the server can; what stands in for one in tests cannot
}
