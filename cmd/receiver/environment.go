package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

// environmentName is the name of the route, and of the document, that the environment makes.
const environmentName = "environment"

// The variables that make one route. Those of Mandrill can also be in a file, which a variable with the suffix names.
const (
	variableURL       = "MANDRILL_WEBHOOK_URL"
	variableKey       = "MANDRILL_SIGNING_KEY"
	variableSource    = "MANDRILL_CE_SOURCE"
	variableSink      = "K_SINK"         // this and the next two are what Knative's SinkBinding sets
	variableCACerts   = "K_CA_CERTS"     // PEM
	variableOverrides = "K_CE_OVERRIDES" // JSON
	fileSuffix        = "_FILE"
)

// variables says for each field of a route which variable it comes from, and what to write there.
var variables = map[string]struct{ name, write string }{
	"url":                    {variableURL, "write the URL exactly as it is registered at Mandrill, such as https://hooks.example.com/mandrill"},
	"keys":                   {variableKey, "write the key that Mandrill shows for the webhook, or leave it away until the webhook has been added"},
	"source":                 {variableSource, "write what the CloudEvents come from, such as /mandrill/shop, or leave it away"},
	"sink.uri":               {variableSink, "write where the CloudEvents go, such as http://consumer:8080/events"},
	"sink.CACerts":           {variableCACerts, "write certificates in PEM, or leave it away"},
	"ceOverrides.extensions": {variableOverrides, `write JSON such as {"extensions": {"env": "prod"}}, or leave it away`},
}

// environment makes a routes document of variables. What is empty counts as not set, because compose files and charts
// set empty ones. Its errors name variables and never show values, which may be secret or be in the wrong place.
type environment struct {
	getenv  func(string) string
	hadKeys bool
}

var errNoRoutes = errors.New("give one of --config FILE, --routes-secret NAMESPACE/NAME or the variables " + variableURL + " and " + variableSink)

// chooseRoutes finds out where the routes come from, which must be one place.
func (o *options) chooseRoutes(getenv func(string) string) error {
	var places []string
	if o.config != "" {
		places = append(places, "--config")
	}
	if o.routesSecret != "" {
		places = append(places, "--routes-secret")
	}
	// The variables of Knative do not count: SinkBindings set them in all containers of a pod.
	for _, name := range []string{variableURL, variableURL + fileSuffix, variableKey, variableKey + fileSuffix, variableSource} {
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
		return nil
	}
	return fmt.Errorf("%s are given: leave all but one away, because routes come from one place", strings.Join(places, " and "))
}

// files are those that the variables name.
func (e *environment) files() []string {
	var files []string
	for _, name := range []string{variableURL, variableKey} {
		if path := e.getenv(name + fileSuffix); path != "" {
			files = append(files, path)
		}
	}
	return files
}

// read encodes the document. A key that there was before must not vanish: most likely its file is about to be written.
func (e *environment) read() ([]byte, error) {
	document, err := e.document()
	if err != nil {
		return nil, err
	}
	hasKeys := len(document.Routes[0].Keys) > 0
	if e.hadKeys && !hasKeys {
		return nil, errors.New(variableKey + fileSuffix + ": the file has no key any more")
	}
	e.hadKeys = hasKeys
	return document.Encode()
}

// document makes the route. It names all faults at once.
func (e *environment) document() (*routes.Document, error) {
	registered, urlFault := e.value(variableURL)
	keys, keyFault := e.value(variableKey)
	overrides, overridesFault := e.overrides()
	faults := []error{urlFault, keyFault, overridesFault}
	route := routes.Route{
		Name: environmentName, URL: registered, Source: e.source(registered), CEOverrides: overrides,
		Keys: strings.FieldsFunc(keys, func(c rune) bool { return strings.ContainsRune(", \t\r\n", c) }),
		Sink: routes.Sink{URI: e.getenv(variableSink), CACerts: e.getenv(variableCACerts)},
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

// fault says what is wrong with a variable and what to write there.
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

// value returns what a variable, or the file that it names, holds. Nothing is there yet when the file of the key is not,
// because the key exists only after the webhook has been added. The URL must be there.
func (e *environment) value(name string) (string, error) {
	value, path := e.getenv(name), e.getenv(name+fileSuffix)
	switch {
	case value != "" && path != "":
		return "", e.fault(name, "and "+name+fileSuffix+" are both set: leave one away")
	case value == "" && path == "" && name == variableURL:
		return "", e.fault(name, "is not set")
	case path == "":
		return strings.TrimSpace(value), nil
	}
	data, err := os.ReadFile(path) //nolint:gosec // named by whoever runs the receiver
	if errors.Is(err, fs.ErrNotExist) && name == variableKey {
		if _, err := os.Stat(filepath.Dir(path)); err == nil {
			return "", nil
		}
		return "", e.fault(name, "names a file in a folder that does not exist: mount the Secret as a folder")
	}
	switch text := strings.TrimSpace(string(data)); {
	case errors.Is(err, fs.ErrNotExist):
		return "", e.fault(name, "names a file that does not exist")
	case err != nil: // its text has the path
		return "", e.fault(name, "names a file that cannot be read")
	case text == "" && name == variableURL:
		return "", e.fault(name, "names an empty file")
	default:
		return text, nil
	}
}

// overrides reads what Knative sets.
func (e *environment) overrides() (routes.Overrides, error) {
	var overrides routes.Overrides
	text := e.getenv(variableOverrides)
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

// source is by default the host that Mandrill posts to. The rest of the URL may be secret, and events go to others.
func (e *environment) source(registered string) string {
	if source := e.getenv(variableSource); source != "" {
		return source
	}
	parsed, err := url.Parse(registered)
	if err != nil {
		return "/mandrill"
	}
	return "/mandrill/" + url.PathEscape(parsed.Host)
}
