// Package routes is the routes document: the URLs that the receiver answers for, and where the events go. The operator
// writes it into Secrets; for a receiver without an operator, the user writes it into a file. The package does not depend
// on Kubernetes.
package routes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// MaxDirectTimeout bounds a batch in Direct mode, and so one request to the sink, because Mandrill waits for the answer.
const MaxDirectTimeout = 30 * time.Second

// testKey is what Mandrill signs with while it checks a URL. Everybody knows it.
const testKey = "test-webhook"

// Key is the key of a Secret's data that holds the document.
const Key = "routes.yaml"

// ObjectHeader is the header of the answer to an empty batch, or to a signed nonce, that has Route.Object.
const ObjectHeader = "Mandrill-Webhook-Object"

// NonceHeader is the header of a HEAD request with a nonce, which mandrill.SignatureHeader signs. A receiver that has the route's key
// answers with the same nonce and with ObjectHeader.
const NonceHeader = "Mandrill-Webhook-Nonce"

// Document is a routes document.
type Document struct {
	// WrittenBy is the operator's mark. It may be newer than the receiver, so fields that the receiver does not know are ignored.
	WrittenBy string  `json:"writtenBy,omitempty"`
	Routes    []Route `json:"routes"`
}

// operator is Document.WrittenBy of the operator's documents.
const operator = "operator"

// Route is one URL that the receiver answers for.
type Route struct {
	// Name identifies the route in logs and metrics: <namespace>/<name> of the MandrillWebhook.
	Name string `json:"name"`
	// Object tells the webhook's object from others with the same name and URL, such as one in another cluster. The receiver
	// answers it to an empty batch, see ObjectHeader.
	Object string `json:"object,omitempty"`
	// URL exactly as registered at Mandrill, anything secret in it included.
	URL string `json:"url"`
	// Path at which requests arrive, if a proxy in front rewrites the path of URL. Default: that of URL.
	Path string `json:"path,omitempty"`
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
	// AppProtocol is ProtocolH2C for a sink at an http URI that expects HTTP/2. A receiver that is older than this field speaks HTTP/1.1.
	AppProtocol string `json:"appProtocol,omitempty"`
}

// ProtocolH2C is the appProtocol of a port, as Kubernetes defines it, where HTTP/2 is spoken without TLS and without an upgrade.
const ProtocolH2C = "kubernetes.io/h2c"

// Overrides are set on every CloudEvent.
type Overrides struct {
	Extensions map[string]string `json:"extensions,omitempty"`
}

// Delivery says how CloudEvents are sent.
type Delivery struct {
	// Mode is ModeBuffered or ModeDirect. Default: ModeBuffered if the receiver has a buffer, else ModeDirect.
	Mode        string `json:"mode,omitempty"`
	ContentMode string `json:"contentMode,omitempty"`
	// DataSchema is SchemaInclude or SchemaOmit. Default: SchemaInclude.
	DataSchema string `json:"dataSchema,omitempty"`
	// Payload is PayloadRaw or PayloadNormalized. Default: PayloadRaw, which is also what a receiver that is older than this field sends.
	Payload string `json:"payload,omitempty"`
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

// Whether CloudEvents have the attribute dataschema.
const (
	SchemaInclude = "Include"
	SchemaOmit    = "Omit"
)

// In which form CloudEvents have the data of Mandrill's events.
const (
	PayloadRaw        = "Raw"        // the bytes that Mandrill sent
	PayloadNormalized = "Normalized" // as package events encodes them
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

// Decode reads a document strictly: unknown and repeated fields are refused, except in the operator's documents, and so is a
// document in which any route is not usable. The errors name routes and fields, never values, which may be secret.
func Decode(data []byte) (*Document, error) {
	var document Document
	if err := yaml.UnmarshalStrict(data, &document); err != nil {
		document = Document{}
		if yaml.Unmarshal(data, &document) != nil || document.WrittenBy != operator {
			return nil, decodeError(data, err)
		}
	}
	if err := checkSingle(data); err != nil {
		return nil, err
	}
	if err := document.validate(); err != nil {
		return nil, err
	}
	return &document, nil
}

// DecodeOwn decodes a document that a user has written, and refuses two routes with one URL. The operator's documents have
// such routes for a short time, when a URL moves from one webhook to another.
func DecodeOwn(data []byte) (*Document, error) {
	document, err := Decode(data)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, route := range document.Routes {
		if other, taken := names[route.URL]; taken {
			return nil, fmt.Errorf("routes %q and %q have the same url: give each a url of its own, or make them one route with the keys of both", other, route.Name)
		}
		names[route.URL] = route.Name
	}
	return document, nil
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
	sorted := Document{Routes: append([]Route{}, d.Routes...)}
	slices.SortFunc(sorted.Routes, func(a, b Route) int { return strings.Compare(a.Name, b.Name) })
	lines, err := Lines(sorted.Routes...)
	if err != nil {
		return nil, err
	}
	return Join(lines), nil
}

// Lines encodes routes as lines of a document, one for each. It refuses what Decode would refuse.
func Lines(list ...Route) ([]byte, error) {
	if err := (&Document{Routes: append([]Route{}, list...)}).validate(); err != nil {
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

// Join makes a document of lines, with the operator's mark.
func Join(lines ...[]byte) []byte {
	document := []byte("writtenBy: " + operator + "\n")
	body := bytes.Join(lines, nil)
	if len(body) == 0 {
		return append(document, "routes: []\n"...)
	}
	return append(append(document, "routes:\n"...), body...)
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
