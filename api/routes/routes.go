// Package routes is the routes document: the URLs that the receiver answers for, and where the events go. The operator
// writes it into Secrets; for a receiver without an operator, the user writes it into a file. The package does not depend
// on Kubernetes.
package routes

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"sigs.k8s.io/yaml"
)

// MaxDirectTimeout bounds a batch in Direct mode, and so one request to the sink, because Mandrill waits for the answer.
const MaxDirectTimeout = 30 * time.Second

// testKey is what Mandrill signs with while it checks a URL. Everybody knows it.
const testKey = "test-webhook"

// Key is the key of a Secret's data that holds the document.
const Key = "routes.yaml"

// Document is a routes document.
type Document struct {
	Routes []Route `json:"routes"`
}

// Route is one URL that the receiver answers for.
type Route struct {
	// Name identifies the route in logs and metrics: <namespace>/<name> of the MandrillWebhook.
	Name string `json:"name"`
	// URL exactly as registered at Mandrill, anything secret in it included.
	URL string `json:"url"`
	// Keys that verify batches, each by itself. Without keys, probes are answered and batches get 503.
	Keys []string `json:"keys,omitempty"`
	// Source of the CloudEvents.
	Source string `json:"source"`
	// Sink that the CloudEvents go to.
	Sink Sink `json:"sink"`
	// CEOverrides are set on every CloudEvent.
	CEOverrides Overrides `json:"ceOverrides,omitzero"`
	// Delivery says how CloudEvents are sent.
	Delivery Delivery `json:"delivery,omitzero"`
	// Suspend answers batches with 503.
	Suspend bool `json:"suspend,omitempty"`
}

// Sink is an HTTP endpoint that accepts CloudEvents.
type Sink struct {
	URI string `json:"uri"`
	// CACerts are certificates, PEM, that are trusted in addition to the system's.
	CACerts string `json:"CACerts,omitempty"`
	// Audience of the OIDC token that the sink asks for. The receiver must have been given one.
	Audience string `json:"audience,omitempty"`
}

// Overrides are set on every CloudEvent.
type Overrides struct {
	Extensions map[string]string `json:"extensions,omitempty"`
}

// Delivery says how CloudEvents are sent.
type Delivery struct {
	// Mode is ModeBuffered or ModeDirect. Default: ModeBuffered if the receiver has a buffer, else ModeDirect.
	Mode        string `json:"mode,omitempty"`
	ContentMode string `json:"contentMode,omitempty"`
	// Timeout of one request, an ISO 8601 duration. Default: PT10S.
	Timeout string `json:"timeout,omitempty"`
	// Retry is how often a failed event is sent again. Default: DefaultBufferedRetry in Buffered mode; in Direct mode none,
	// and Mandrill sends the batch again.
	Retry *int `json:"retry,omitempty"`
	// BackoffPolicy is linear or exponential. Default: exponential.
	BackoffPolicy string `json:"backoffPolicy,omitempty"`
	// BackoffDelay before the first retry, an ISO 8601 duration of at most MaxBackoff. Default: PT1S.
	BackoffDelay string `json:"backoffDelay,omitempty"`
	// DeadLetterSink gets the events that the sink refuses permanently and those that failed through all retries. In Direct
	// mode without Retry there are none.
	DeadLetterSink *Sink `json:"deadLetterSink,omitempty"`
}

// The modes of delivery.
const (
	ModeBuffered = "Buffered" // a batch is acknowledged when it is on disk, and delivered later
	ModeDirect   = "Direct"   // a batch is acknowledged when its events are delivered
)

// DefaultBufferedRetry is how often a failed event is sent again in Buffered mode if the route does not say. In Direct
// mode the default is never.
const DefaultBufferedRetry = 10

// MaxBackoff bounds a pause between retries, and so backoffDelay.
const MaxBackoff = 10 * time.Minute

// The back-off policies.
const (
	BackoffLinear      = "linear"
	BackoffExponential = "exponential"
)

// MaxRetry bounds the retries of an event.
const MaxRetry = 100

// Decode reads a document strictly: unknown and repeated fields are refused, and so is a document in which any
// route is not usable. The errors name routes and fields, never values, which may be secret.
func Decode(data []byte) (*Document, error) {
	var document Document
	if err := yaml.UnmarshalStrict(data, &document); err != nil {
		return nil, fmt.Errorf("decoding routes: %s", withoutValues(err.Error()))
	}
	if err := document.validate(); err != nil {
		return nil, err
	}
	return &document, nil
}

var (
	// quoted matches from the first quotation mark to the last, because a quoted text may have quotation marks itself.
	quoted = regexp.MustCompile("(?s)[\"'`].*[\"'`]")
	mapKey = regexp.MustCompile("(?s)(invalid map key): .*")
	plain  = regexp.MustCompile("^.([A-Za-z]{1,40}|.).$") // such as the name of a field
)

// withoutValues removes from an error of the decoder what it quotes of the document, except the names of fields. The
// decoder quotes a secret in the wrong place, or without quotation marks, as a field, an anchor or a number.
func withoutValues(text string) string {
	text = mapKey.ReplaceAllString(text, "$1")
	return quoted.ReplaceAllStringFunc(text, func(piece string) string {
		if plain.MatchString(piece) {
			return piece
		}
		return "(hidden)"
	})
}

// Encode encodes a document with its routes in order of name, so that equal routes give equal bytes. It refuses what
// Decode would refuse.
func (d *Document) Encode() ([]byte, error) {
	sorted := Document{append([]Route{}, d.Routes...)}
	slices.SortFunc(sorted.Routes, func(a, b Route) int { return strings.Compare(a.Name, b.Name) })
	lines, err := Lines(sorted.Routes...)
	if err != nil {
		return nil, err
	}
	return Join(lines), nil
}

// Lines encodes routes as lines of a document, one for each. It refuses what Decode would refuse.
func Lines(list ...Route) ([]byte, error) {
	if err := (&Document{append([]Route{}, list...)}).validate(); err != nil {
		return nil, err
	}
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines) // JSON is YAML, except for some characters
	encoder.SetEscapeHTML(false)
	for _, route := range list {
		lines.WriteString("- ")
		if err := encoder.Encode(route); err != nil {
			return nil, fmt.Errorf("encoding a route: %w", err)
		}
	}
	return escapeUnprintable(lines.Bytes()), nil
}

// Join makes a document of lines.
func Join(lines ...[]byte) []byte {
	body := bytes.Join(lines, nil)
	if len(body) == 0 {
		return []byte("routes: []\n")
	}
	return append([]byte("routes:\n"), body...)
}

// escapeUnprintable escapes the characters that are allowed in JSON strings and not in YAML.
func escapeUnprintable(lines []byte) []byte {
	bad := func(r rune) bool {
		return r >= 0x7f && r < 0xa0 || r >= 0xd800 && r < 0xe000 || r == 0xfeff || r == 0xfffe || r == 0xffff
	}
	if !bytes.ContainsFunc(lines, bad) {
		return lines
	}
	var out bytes.Buffer
	for _, r := range string(lines) {
		if bad(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.Bytes()
}

// earlier separates the webhook from a number in the names of routes for earlier URLs.
const earlier = "~"

// Named gives the routes of one webhook their names: the first has the webhook's own, the others are for its earlier
// URLs.
func Named(webhook string, list ...Route) []Route {
	named := slices.Clone(list)
	for i := range named {
		if named[i].Name = webhook; i > 0 {
			named[i].Name += earlier + strconv.Itoa(i)
		}
	}
	return named
}

// Webhook is the name of the webhook that a route of this name belongs to.
func Webhook(route string) string {
	webhook, _, _ := strings.Cut(route, earlier)
	return webhook
}

// MaxSecrets is how many Secrets the routes may be spread over. A receiver watches that many.
const MaxSecrets = 8

// SecretName is the name of one of the Secrets, of number 0 to MaxSecrets-1.
func SecretName(name string, number int) string {
	if number == 0 {
		return name
	}
	return name + "-" + strconv.Itoa(number)
}

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
	fault(!isReference(r.Source), "source must be a URI reference, such as /mandrill/shop")
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
	var faults []string
	if !isHTTP(s.URI) {
		faults = append(faults, field+".uri must be an absolute http or https URL")
	}
	if s.CACerts != "" && !HoldsCertificate(s.CACerts) {
		faults = append(faults, field+".CACerts holds no PEM certificate")
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
	var faults []string
	if !isHTTP(url) {
		faults = append(faults, "url must be an absolute http or https URL")
	}
	if strings.Contains(url, "#") {
		faults = append(faults, "url must not have a fragment")
	}
	if slices.Contains(keys, "") {
		faults = append(faults, "keys has an empty key")
	}
	if slices.Contains(keys, testKey) {
		faults = append(faults, "keys has the key that everybody knows, which vouches for nothing")
	}
	return faults
}

// HoldsCertificate reports whether a text has at least one PEM certificate.
func HoldsCertificate(text string) bool { return x509.NewCertPool().AppendCertsFromPEM([]byte(text)) }

// isReference reports whether a text can be the source of CloudEvents.
func isReference(text string) bool {
	_, err := url.Parse(text)
	return err == nil && text != "" && !strings.ContainsAny(text, " \t\r\n\"<>")
}

var duration = regexp.MustCompile(`^PT(?:(\d{1,4})H)?(?:(\d{1,4})M)?(?:(\d{1,4}(?:\.\d{1,3})?)S)?$`)

// ParseDuration reads an ISO 8601 duration of hours, minutes and seconds, such as PT1M30S or PT0.5S.
func ParseDuration(text string) (time.Duration, error) {
	match := duration.FindStringSubmatch(text)
	if match == nil || text == "PT" {
		return 0, errors.New("not an ISO 8601 duration of hours, minutes and seconds, such as PT10S")
	}
	var total time.Duration
	for i, unit := range []string{"h", "m", "s"} {
		if match[i+1] != "" {
			part, err := time.ParseDuration(match[i+1] + unit)
			if err != nil {
				return 0, err
			}
			total += part
		}
	}
	return total, nil
}
