package routes

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mandrill-operator/mandrill-operator/api/pasted"
)

func (d *Document) validate() error {
	if d.Routes == nil {
		return errors.New("the document has no routes; write routes: [] for none")
	}
	names := map[string]bool{}
	var faults []error
	for i, route := range d.Routes {
		label := strconv.Quote(route.Name)
		if route.Name == "" {
			label = "number " + strconv.Itoa(i+1)
			faults = append(faults, fmt.Errorf("route %s: name is missing", label))
		}
		if names[route.Name] && route.Name != "" {
			faults = append(faults, fmt.Errorf("route %s: the name is used twice", label))
		}
		names[route.Name] = true
		if !usableName(route.Name) {
			faults = append(faults, fmt.Errorf("route %.40q: the name must have at most %d bytes, no control characters, and no space at its ends", route.Name, maxName))
			continue
		}
		for _, fault := range route.Faults() {
			faults = append(faults, fmt.Errorf("route %s: %s", label, fault))
		}
	}
	return errors.Join(faults...)
}

// maxName is longer than names in Kubernetes, and fits into a subject of the buffer even if every byte is escaped.
const maxName = 512

// usableName reports whether a name survives in a header, and fits into the subject, of a message in the buffer.
func usableName(name string) bool {
	return len(name) <= maxName && strings.TrimSpace(name) == name && !strings.ContainsFunc(name, unicode.IsControl)
}

var objectName = regexp.MustCompile(`^[a-z0-9]{0,32}$`)

var extensionName = regexp.MustCompile(`^[a-z0-9]{1,20}$`)

// reserved are the attributes of CloudEvents that are not extensions.
var reserved = []string{"id", "source", "specversion", "type", "subject", "time", "datacontenttype", "dataschema", "data"}

// Faults returns what makes a route unusable. Each fault begins with the field, such as sink.uri, and a space.
func (r Route) Faults() []string {
	var faults []string
	fault := func(bad bool, text string) {
		if bad {
			faults = append(faults, text)
		}
	}
	faults = append(faults, identityFaults(r.URL, r.Keys...)...)
	fault(!objectName.MatchString(r.Object), "object must be up to 32 lower case letters and digits")
	fault(r.Path != "" && !isPath(r.Path), "path must begin with a slash, be escaped as in a URL, and have neither query nor fragment")
	if pastedFault := pasted.Fault(r.Source); pastedFault != "" {
		faults = append(faults, "source has "+pastedFault)
	} else {
		fault(!isReference(r.Source), "source must be a URI reference, such as /mandrill/shop")
	}
	faults = append(faults, r.Sink.faults("sink")...)
	faults = append(faults, r.Delivery.faults()...)
	for name, value := range r.CEOverrides.Extensions {
		fault(!extensionName.MatchString(name), "ceOverrides.extensions are named in 1 to 20 lower case letters and digits")
		fault(slices.Contains(reserved, name), "ceOverrides.extensions cannot set "+name)
		fault(value == "", "ceOverrides.extensions has an empty value")
	}
	return faults
}

func (s Sink) faults(field string) []string {
	faults := urlFaults(field+".uri", s.URI)
	if fault := pasted.Fault(s.Audience); fault != "" {
		faults = append(faults, field+".audience has "+fault)
	}
	if s.CACerts != "" && !HoldsCertificate(s.CACerts) {
		faults = append(faults, field+".CACerts holds no PEM certificate")
	}
	switch {
	case s.AppProtocol != "" && s.AppProtocol != ProtocolH2C:
		faults = append(faults, field+".appProtocol must be "+ProtocolH2C+", or be left out")
	case s.AppProtocol != "" && !strings.HasPrefix(strings.ToLower(s.URI), "http:"):
		faults = append(faults, field+".appProtocol is for http URLs: with https the sink and the receiver agree on HTTP/2 by themselves")
	}
	return faults
}

func (d Delivery) faults() []string {
	var faults []string
	fault := func(bad bool, text string) {
		if bad {
			faults = append(faults, text)
		}
	}
	fault(!slices.Contains([]string{"", ModeBuffered, ModeDirect}, d.Mode), "delivery.mode must be Buffered or Direct; without it the receiver buffers if it has a buffer")
	fault(!slices.Contains([]string{"", "Binary", "Structured", "Batched"}, d.ContentMode), "delivery.contentMode must be Binary, Structured or Batched")
	fault(!slices.Contains([]string{"", SchemaInclude, SchemaOmit}, d.DataSchema), "delivery.dataSchema must be Include or Omit")
	fault(!slices.Contains([]string{"", PayloadRaw, PayloadNormalized}, d.Payload), "delivery.payload must be Raw or Normalized")
	fault(d.Payload == PayloadNormalized && d.DataSchema == SchemaOmit,
		"delivery.payload Normalized needs dataschema, which says whether the data of an event are in the normal form; leave dataSchema out, or payload")
	fault(d.Timeout != "" && !isUpTo(MaxDirectTimeout, d.Timeout), "delivery.timeout must be an ISO 8601 duration above zero and of at most 30 seconds, such as PT10S")
	fault(d.Retry != nil && (*d.Retry < 0 || *d.Retry > MaxRetry), "delivery.retry must be 0 to "+strconv.Itoa(MaxRetry))
	fault(!slices.Contains([]string{"", BackoffLinear, BackoffExponential}, d.BackoffPolicy), "delivery.backoffPolicy must be linear or exponential")
	fault(d.BackoffDelay != "" && !isUpTo(MaxBackoff, d.BackoffDelay), "delivery.backoffDelay must be an ISO 8601 duration above zero and of at most 10 minutes, such as PT1S")
	fault(d.Mode == ModeDirect && d.Retry == nil && (d.BackoffPolicy != "" || d.BackoffDelay != ""),
		"delivery.backoffPolicy and backoffDelay need delivery.retry in Direct mode, which has no retries without it; set it, or leave them out")
	if d.DeadLetterSink != nil {
		faults = append(faults, d.DeadLetterSink.faults("delivery.deadLetterSink")...)
	}
	return faults
}

// isUpTo reports whether a text is a duration above zero and of at most the given one.
func isUpTo(most time.Duration, text string) bool {
	duration, err := ParseDuration(text)
	return err == nil && duration > 0 && duration <= most
}

func isHTTP(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && (parsed.Scheme == "http" || parsed.Scheme == "https") && parsed.Host != ""
}

// Usable reports whether a route may have this URL and key.
func Usable(url, key string) bool { return len(identityFaults(url, key)) == 0 }

// identityFaults returns the faults of the URL and keys that batches are verified with.
func identityFaults(url string, keys ...string) []string {
	faults := urlFaults("url", url)
	if strings.Contains(url, "#") {
		faults = append(faults, "url must not have a fragment")
	}
	if slices.Contains(keys, "") {
		faults = append(faults, "keys has an empty key")
	}
	if slices.Contains(keys, testKey) {
		faults = append(faults, "keys has the key that everybody knows, which vouches for nothing")
	}
	for _, key := range keys {
		if fault := pasted.KeyFault(key); fault != "" {
			return append(faults, "keys has a key with "+fault)
		}
	}
	return faults
}

// urlFaults returns the faults of a URL in a field.
func urlFaults(field, text string) []string {
	if fault := pasted.Fault(text); fault != "" {
		return []string{field + " has " + fault}
	}
	if !isHTTP(text) {
		return []string{field + " must be an absolute http or https URL"}
	}
	return nil
}

// misplaced is a certificate that does not begin at the beginning of a line. The decoder skips it without an error.
var misplaced = regexp.MustCompile(`[^\n]-----BEGIN CERTIFICATE`)

// HoldsCertificate reports whether a text has at least one PEM certificate, and none that a quotation mark, a byte order mark
// or an indentation before it hides.
func HoldsCertificate(text string) bool {
	return !misplaced.MatchString(text) && x509.NewCertPool().AppendCertsFromPEM([]byte(text))
}

// isPath reports whether a text can be the path of a request, escaped in the one way in which it is compared.
func isPath(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && strings.HasPrefix(text, "/") && pasted.Fault(text) == "" && parsed.Host == "" && parsed.EscapedPath() == text
}

// isReference reports whether a text can be the source of CloudEvents.
func isReference(text string) bool {
	_, err := url.Parse(text)
	return err == nil && text != "" && !strings.ContainsAny(text, " \t\r\n\"<>")
}
