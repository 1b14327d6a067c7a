// Package checks is what receiver check says of routes: what the receiver does with them, and whether it reaches their sinks.
package checks

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

// Describe returns what the receiver does for a route.
func Describe(route routes.Route) string {
	var text strings.Builder
	line := func(name, value string) { fmt.Fprintf(&text, "  %-9s %s\n", name, value) }
	fmt.Fprintf(&text, "route %s\n", route.Name)
	line("url", withoutSecrets(route.URL))
	if route.Path != "" {
		line("path", route.Path)
	}
	switch {
	case route.Suspend:
		line("keys", fmt.Sprintf("%d, but suspended: batches get 503", len(route.Keys)))
	case len(route.Keys) == 0:
		line("keys", "0: probes are answered, batches get 503 until there is one")
	default:
		line("keys", strconv.Itoa(len(route.Keys)))
	}
	line("sink", describeSink(route.Sink))
	line("source", withoutSecrets(route.Source))
	delivery := route.Delivery
	line("mode", describeMode(delivery.Mode))
	line("delivery", cmp.Or(delivery.ContentMode, "Binary")+", timeout "+cmp.Or(delivery.Timeout, "PT10S")+describeData(delivery))
	if retries := describeRetries(delivery); retries != "" {
		line("retries", retries)
	}
	switch {
	case delivery.DeadLetterSink != nil:
		line("failures", "to the dead letter sink: "+describeSink(*delivery.DeadLetterSink))
	case delivery.Mode != routes.ModeDirect:
		line("failures", "dead letters in the buffer")
	}
	return text.String()
}

// describeData says what is not the default: that events have no dataschema, or that their data are in the normal form.
func describeData(delivery routes.Delivery) string {
	switch {
	case delivery.DataSchema == routes.SchemaOmit:
		return ", without dataschema"
	case delivery.Payload == routes.PayloadNormalized:
		return ", payload Normalized"
	}
	return ""
}

// describeMode describes the mode of a route. Without one it depends on the flags of the receiver.
func describeMode(mode string) string {
	switch mode {
	case "":
		return "Buffered with --buffer, else Direct"
	case routes.ModeBuffered:
		return "Buffered, which needs --buffer"
	}
	return mode
}

func describeRetries(delivery routes.Delivery) string {
	text := fmt.Sprintf(", %s, first after %s", cmp.Or(delivery.BackoffPolicy, "exponential"), cmp.Or(delivery.BackoffDelay, "PT1S"))
	switch {
	case delivery.Retry != nil:
		return strconv.Itoa(*delivery.Retry) + text
	case delivery.Mode == routes.ModeDirect:
		return ""
	}
	return fmt.Sprintf("%d in mode Buffered%s", routes.DefaultBufferedRetry, text)
}

// describeSink returns the scheme and host of a sink. The rest of the URL may be secret.
func describeSink(to routes.Sink) string {
	text := "unknown"
	if parsed, err := url.Parse(to.URI); err == nil {
		text = parsed.Scheme + ", " + parsed.Host
	}
	if to.CACerts != "" {
		text += ", CACerts"
	}
	if to.AppProtocol != "" {
		text += ", HTTP/2"
	}
	if to.Audience != "" {
		text += ", with an OIDC token"
	}
	return text
}

// withoutSecrets replaces the parts of a URL that may be secret: the userinfo and the values of the query.
func withoutSecrets(text string) string {
	parsed, err := url.Parse(text)
	if err != nil {
		return "(hidden)"
	}
	if parsed.User != nil {
		parsed.User = url.User("hidden")
	}
	parameters := strings.Split(parsed.RawQuery, "&")
	for i, parameter := range parameters {
		if name, _, named := strings.Cut(parameter, "="); named {
			parameters[i] = name + "=hidden"
		} else if parameter != "" {
			parameters[i] = "hidden"
		}
	}
	parsed.RawQuery, parsed.Fragment, parsed.RawFragment = strings.Join(parameters, "&"), "", ""
	return parsed.String()
}
