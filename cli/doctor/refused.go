package doctor

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/cli/post"
)

// remedies say what to do for the outcomes that receivers answer.
var remedies = map[string]struct{ means, do string }{
	"no_route": {"the receiver does not know the path",
		"A proxy changes the path, or the receiver has not read its routes: let the ingress pass the path as it is. The receiver's log says what was changed."},
	"signature": {"the signature does not match the receiver's key or URL",
		"The receiver has another key or URL than the Secret: does it read the operator's routes? A proxy that removes the query or the Authorization header looks the same."},
	"not_ready":          {"the receiver is not ready for the webhook", "It is suspended, has no key yet, lacks a buffer, or has not read its routes: look at its log."},
	"busy":               {"the receiver has no memory for the body", "Raise --max-inflight-bytes, or try again when there is less traffic."},
	"too_large":          {"the body is over the receiver's --max-body-bytes", "Raise --max-body-bytes if you expect mail of this size."},
	"unreadable":         {"the receiver cannot read the body", "A proxy changes the body or its Content-Type."},
	"buffer_full":        {"the buffer is full", "Repair the sinks that fail, or make the buffer larger: kubectl mandrill backlog list."},
	"buffer_unavailable": {"the receiver cannot write its buffer", "Look at its log: the disk fails, is read-only or was filled by others."},
	"method":             {"the receiver does not accept the method", "A proxy changes the method."},
	"aborted":            {"the body did not arrive completely", "A proxy or a firewall ends the request: look at its time-outs."},
}

// refused says what an answer other than 200 means.
func (d *doctor) refused(what string, answer post.Answer) []Finding {
	if outcome, known := remedies[strings.TrimSpace(answer.Body)]; known {
		return finding(Fail, fmt.Sprintf("%s is answered with %d by a receiver: %s", what, answer.Status, outcome.means), outcome.do)
	}
	text := fmt.Sprintf("%s is answered with %d", what, answer.Status)
	server := ""
	if name := answer.Header.Get("Server"); name != "" {
		server = " (" + name + ")"
	}
	switch status := answer.Status; {
	case status >= 300 && status < 400:
		return finding(Fail, text+server+", a redirect", "Mandrill does not follow it reliably: write the URL to which it leads into spec.url.")
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return finding(Fail, text+server+" by something in front of the receiver", "Exempt the path from login and from rules of a firewall: signatures authenticate the requests.")
	case status == http.StatusNotFound && what == "HEAD":
		return finding(Fail, text, "The path does not lead to the receiver, or a proxy strips or rewrites it: the receiver expects it as spec.url or status.url has it.")
	case status == http.StatusNotFound:
		return finding(Fail, text+server+" by something in front of the receiver", "The ingress has no rule for the host and the path: add one that leads to the receiver's Service.")
	case status == http.StatusRequestEntityTooLarge:
		return finding(Fail, text+server+" by something in front of the receiver",
			"Raise its limit of the body, such as nginx's client_max_body_size or the annotation nginx.ingress.kubernetes.io/proxy-body-size, to 100m.")
	case status == http.StatusGatewayTimeout || status == http.StatusRequestTimeout:
		return finding(Fail, text+server+": a proxy has waited too long", "Raise the time-outs of the proxy to 60 s or more.")
	case status == http.StatusBadGateway || status == http.StatusServiceUnavailable:
		return finding(Fail, text+server, "The proxy has no receiver that is ready: look at the pods of the receiver.")
	}
	return finding(Fail, text+server, "Look at the log of the ingress and of the receiver.")
}
