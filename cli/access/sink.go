package access

import (
	"cmp"
	"net"
	"net/url"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// SinkAddress returns the host and the port of a webhook's sink, or "" if it has none. The rest of a sink's URI may hold secrets.
// Conditions, Events and logs do not have it, because others read them; who may read the object may read it.
func SinkAddress(webhook *v1alpha1.MandrillWebhook) string {
	parsed, err := url.Parse(cmp.Or(webhook.Status.SinkURI, webhook.Spec.Sink.URI))
	if err != nil || parsed.Hostname() == "" {
		return ""
	}
	port := parsed.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[parsed.Scheme]
	}
	return strings.TrimSuffix(net.JoinHostPort(parsed.Hostname(), port), ":")
}

// NameSink adds the address of the sink to a message about it.
func NameSink(message, address string) string {
	const sink = "The sink "
	rest, aboutSink := strings.CutPrefix(message, sink)
	if !aboutSink || address == "" {
		return message
	}
	return sink + address + " " + rest
}
