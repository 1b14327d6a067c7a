package receiver

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// Advice is logged when it is first due, again after firstAdvicePause, and then after twice as long each time, up to
// lastAdvicePause: anybody can send the requests that cause it.
const (
	firstAdvicePause = time.Minute
	lastAdvicePause  = time.Hour
)

// adviser logs what is probably wrong with a proxy in front, by what it has done to requests.
type adviser struct {
	logger *slog.Logger
	now    func() time.Time

	mu     sync.Mutex
	topics map[string]*topic // by message, which are few
}

type topic struct {
	next  time.Time
	pause time.Duration
	count int // of requests since it was logged
}

// advise logs a message with the number of requests since it was last logged, unless that was a short time ago.
func (a *adviser) advise(ctx context.Context, message string, attributes ...any) {
	if requests, due := a.due(message); due {
		a.logger.Log(ctx, slog.LevelWarn, message, append(attributes, "requests", requests)...)
	}
}

func (a *adviser) due(message string) (requests int, due bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.topics == nil {
		a.topics = map[string]*topic{}
	}
	t := a.topics[message]
	if t == nil {
		t = &topic{pause: firstAdvicePause / 2}
		a.topics[message] = t
	}
	t.count++
	now := a.now()
	if now.Before(t.next) {
		return 0, false
	}
	requests, t.count = t.count, 0
	t.pause = min(2*t.pause, lastAdvicePause)
	t.next = now.Add(t.pause)
	return requests, true
}

const (
	adviceStripped  = "Refused a request at the end of a webhook's path; does the ingress strip the prefix?"
	advicePrefixed  = "Refused a request whose path ends with that of a webhook; does a proxy add a prefix?"
	adviceRespelled = "Refused a request whose path differs from that of a webhook in capitals, escapes or slashes; does a proxy change it?"
	adviceNoRoute   = "Refused a POST to a path that no webhook has; was its webhook deleted, or does a proxy rewrite the path?"
	adviceUnsigned  = "Refused an unsigned POST to a path that no webhook has; it is not from Mandrill"
	adviceRoot      = "Refused a signed request at the path /, which no webhook has; does the ingress rewrite all paths to /?"
	adviceNoAuth    = "Refused a signed request without the Authorization header that the userinfo of the URL requires; does a proxy remove it?"
	adviceUserinfo  = "Refused a signed request whose Authorization header is not the userinfo of the URL; does a proxy replace it?"
	adviceQuery     = "Refused a signed request without the query of the URL; does a proxy remove it?"
)

// nearAdvice has the messages for paths that are close to that of a webhook.
var nearAdvice = map[routing.Nearness]string{
	routing.Stripped: adviceStripped, routing.Prefixed: advicePrefixed, routing.Respelled: adviceRespelled,
}

// advisePath gives advice about a path that no webhook has. Path is what it has in common with that of a webhook. Of a POST,
// requestPath is the whole path, which is not secret: see docs/security.md. The query may be, and is not shown.
func (h *Handler) advisePath(r *http.Request) {
	post, signed := r.Method == http.MethodPost, r.Header.Get(mandrill.SignatureHeader) != ""
	var attributes []any
	if post {
		attributes = append(attributes, "requestPath", shownPath(r))
	}
	near := h.routes.Near(r)
	switch {
	case near.How != routing.NotNear:
		h.advice.advise(r.Context(), nearAdvice[near.How], append(attributes, "webhook", near.Webhook, "path", near.Path)...)
	case !post:
	case signed && r.URL.Path == "/":
		h.advice.advise(r.Context(), adviceRoot, attributes...)
	case signed:
		h.advice.advise(r.Context(), adviceNoRoute, attributes...)
	default: // others can send what they like, and must not hide what Mandrill sends
		h.advice.advise(r.Context(), adviceUnsigned, attributes...)
	}
}

// maxShownPath bounds the part of a path that is logged: anybody can send long ones.
const maxShownPath = 200

// shownPath returns the path of a request, with escapes.
func shownPath(r *http.Request) string {
	path := r.URL.EscapedPath()
	if len(path) > maxShownPath {
		path = path[:maxShownPath] + "..."
	}
	return path
}

// lacks says for the log what a request lacks of the URL, and gives the advice.
var lacks = map[routing.Lack]struct{ cause, advice string }{
	routing.LacksAuthorization: {"the request has no Authorization header, and the URL has userinfo", adviceNoAuth},
	routing.LacksUserinfo:      {"the Authorization header is not the userinfo of the URL", adviceUserinfo},
	routing.LacksQuery:         {"the query of the URL is missing or different", adviceQuery},
}
