package sink

import (
	"net/http"
	"regexp"
)

var traceparent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// continueTrace copies the trace context of an event from its extensions to the headers, for consumers that do not read
// the extensions.
func continueTrace(header http.Header, extensions map[string]any) {
	parent, _ := extensions["traceparent"].(string)
	if !traceparent.MatchString(parent) {
		return
	}
	header.Set("Traceparent", parent)
	if state, _ := extensions["tracestate"].(string); state != "" {
		header.Set("Tracestate", state)
	}
}
