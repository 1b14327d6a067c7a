package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/api/pasted"
	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/nearest"
)

// environmentName is the name of the route, and of the document, that variables define.
const environmentName = "environment"

// The variables that define a route. The URL and the key may be in files, which variables with the suffix _FILE name.
const (
	variableURL       = "MANDRILL_WEBHOOK_URL"
	variableKey       = "MANDRILL_SIGNING_KEY"
	variablePath      = "MANDRILL_WEBHOOK_PATH"
	variableSource    = "MANDRILL_CE_SOURCE"
	variablePayload   = "MANDRILL_PAYLOAD"
	variableSink      = "K_SINK"         // set by Knative's SinkBinding, as are the next two
	variableCACerts   = "K_CA_CERTS"     // PEM
	variableOverrides = "K_CE_OVERRIDES" // JSON
	fileSuffix        = "_FILE"
)

// variables maps a field of a route to its variable, and to advice on what to write there.
var variables = map[string]struct{ name, write string }{
	"url":                    {variableURL, "write the URL exactly as it is registered at Mandrill, such as https://hooks.example.com/mandrill"},
	"path":                   {variablePath, "write the path at which requests arrive if a proxy rewrites it, such as /shop, or nothing"},
	"keys":                   {variableKey, "write the key that Mandrill shows for the webhook, or nothing until the webhook has been added"},
	"source":                 {variableSource, "write the source of the CloudEvents, such as /mandrill/shop, or nothing"},
	"delivery.payload":       {variablePayload, "write Raw for the data as Mandrill sends them, Normalized for data without its quirks, or nothing"},
	"sink.uri":               {variableSink, "write the URL for the CloudEvents, such as http://consumer:8080/events"},
	"sink.CACerts":           {variableCACerts, "write certificates in PEM, or nothing"},
	"ceOverrides.extensions": {variableOverrides, `write JSON such as {"extensions": {"env": "prod"}}, or nothing`},
}

// environment reads a routes document from variables. An empty variable counts as not set, because compose files and charts
// set empty ones. Errors name variables and never contain values, which may be secret.
type environment struct {
	getenv   func(string) string
	audience string // of the OIDC token for the sink; empty: none
	hadKeys  bool
}

// serviceVariables are those that Kubernetes sets for Services, such as one that is called mandrill-receiver.
var serviceVariables = regexp.MustCompile(`_SERVICE_(HOST|PORT)(_\w+)?$|_PORT(_\w+)?$`)

// unknownVariables returns variables of the environment that begin like ours and mean nothing, with the ones that they were probably meant
// to be.
func unknownVariables(environ []string) map[string]string {
	known := []string{variableURL, variableKey, variablePath, variableSource, variableURL + fileSuffix, variableKey + fileSuffix}
	unknown := map[string]string{}
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "MANDRILL_") && !slices.Contains(known, name) && !serviceVariables.MatchString(name) {
			unknown[name] = nearest.Name(name, known)
		}
	}
	return unknown
}

// warnOfVariables names unknown variables. They are no error, because a Secret may give a container the variables of several programs.
func warnOfVariables(environ []string, logger *slog.Logger) {
	for name, meant := range unknownVariables(environ) {
		logger.Warn("Ignored an unknown variable", "variable", name, "didYouMean", meant)
	}
}

var errNoRoutes = errors.New("give one of --config FILE, --routes-secret NAMESPACE/NAME or the variables " + variableURL + " and " + variableSink)

// chooseRoutes determines where the routes come from. There must be exactly one place.
func (o *options) chooseRoutes(getenv func(string) string) error {
	var places []string
	if o.config != "" {
		places = append(places, "--config")
	}
	if o.routesSecret != "" {
		places = append(places, "--routes-secret")
	}
	// The variables of Knative do not count: a SinkBinding sets them in all containers of a pod.
	for _, name := range []string{variableURL, variableURL + fileSuffix, variableKey, variableKey + fileSuffix, variablePath, variableSource, variablePayload} {
		if getenv(name) != "" {
			places = append(places, name)
			o.environment = &environment{getenv: getenv}
			break
		}
	}
	switch len(places) {
	case 0:
		return errNoRoutes
	case 1:
		return o.environment.useToken(o.tokens)
	}
	return fmt.Errorf("%s are given: remove all but one, because routes come from one place", strings.Join(places, " and "))
}

// useToken gives the token of --oidc-token to the sink: the variables of Knative have no audience.
func (e *environment) useToken(tokens map[string]string) error {
	if e == nil {
		return nil
	}
	if len(tokens) > 1 {
		return errors.New("--oidc-token is given more than once, and the route of the environment has one sink: remove all but one, or use --config")
	}
	for audience := range tokens {
		e.audience = audience
	}
	return nil
}

// files returns the files that the variables name.
func (e *environment) files() []string {
	var files []string
	for _, name := range []string{variableURL, variableKey} {
		if path := e.getenv(name + fileSuffix); path != "" {
			files = append(files, path)
		}
	}
	return files
}

// read returns the encoded document. It refuses to lose a key that it had before: most likely its file is being written.
func (e *environment) read() ([]byte, error) {
	document, err := e.document()
	if err != nil {
		return nil, err
	}
	hasKeys := len(document.Routes[0].Keys) > 0
	if e.hadKeys && !hasKeys {
		return nil, errors.New(variableKey + fileSuffix + ": the file has lost its key")
	}
	e.hadKeys = hasKeys
	return document.Encode()
}

// document returns the document with the route. Its error lists all faults.
func (e *environment) document() (*routes.Document, error) {
	registered, urlFault := e.value(variableURL)
	keys, keyFault := e.value(variableKey)
	overrides, overridesFault := e.overrides()
	faults := []error{urlFault, keyFault, overridesFault}
	route := routes.Route{
		Name: environmentName, URL: registered, Path: e.trimmed(variablePath), Source: e.source(registered), CEOverrides: overrides,
		Keys:     strings.FieldsFunc(keys, func(c rune) bool { return strings.ContainsRune(", \t\r\n", c) }),
		Sink:     routes.Sink{URI: e.trimmed(variableSink), CACerts: e.getenv(variableCACerts), Audience: e.audience},
		Delivery: routes.Delivery{Payload: e.trimmed(variablePayload)},
	}
	for _, fault := range route.Faults() {
		field, text, _ := strings.Cut(fault, " ")
		if field != "url" || urlFault == nil {
			faults = append(faults, e.fault(variables[field].name, text))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return &routes.Document{Routes: []routes.Route{route}}, nil
}

// fault returns an error that says what is wrong with a variable and what to write there.
func (e *environment) fault(name, text string) error {
	write := ""
	for _, variable := range variables {
		if variable.name == name {
			write = variable.write
		}
	}
	if e.getenv(name) == "" && e.getenv(name+fileSuffix) != "" {
		name += fileSuffix
	}
	return fmt.Errorf("%s %s; %s", name, text, write)
}

// trimmed returns the value of a variable without what files and editors add at its ends.
func (e *environment) trimmed(name string) string { return pasted.Trim(e.getenv(name)) }

// value returns the value of a variable, or the content of the file that its _FILE variant names. A missing file of the key
// counts as empty, because there is a key only after the webhook has been added. The URL is required.
func (e *environment) value(name string) (string, error) {
	value, path := e.getenv(name), e.getenv(name+fileSuffix)
	switch {
	case value != "" && path != "":
		return "", e.fault(name, "and "+name+fileSuffix+" are both set: remove one")
	case value == "" && path == "" && name == variableURL:
		return "", e.fault(name, "is not set")
	case path == "":
		return pasted.Trim(value), nil
	}
	data, err := os.ReadFile(path) //nolint:gosec // named by the administrator
	if errors.Is(err, fs.ErrNotExist) && name == variableKey {
		if _, err := os.Stat(filepath.Dir(path)); err == nil {
			return "", nil
		}
		return "", e.fault(name, "names a file in a folder that does not exist: mount the Secret as a folder")
	}
	switch text := pasted.Trim(string(data)); {
	case errors.Is(err, fs.ErrNotExist):
		return "", e.fault(name, "names a file that does not exist")
	case err != nil: // its text contains the path
		return "", e.fault(name, "names a file that cannot be read")
	case text == "" && name == variableURL:
		return "", e.fault(name, "names an empty file")
	default:
		return text, nil
	}
}

// overrides parses K_CE_OVERRIDES.
func (e *environment) overrides() (routes.Overrides, error) {
	var overrides routes.Overrides
	text := e.trimmed(variableOverrides)
	if text == "" {
		return overrides, nil
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&overrides); err != nil || decoder.More() {
		return routes.Overrides{}, e.fault(variableOverrides, "is not of the right form")
	}
	return overrides, nil
}

// source returns the source of the CloudEvents. The default has the host of the URL and nothing else of it: the rest may be
// secret, and consumers see the source.
func (e *environment) source(registered string) string {
	if source := e.trimmed(variableSource); source != "" {
		return source
	}
	parsed, err := url.Parse(registered)
	if err != nil {
		return "/mandrill"
	}
	return "/mandrill/" + url.PathEscape(parsed.Host)
}
