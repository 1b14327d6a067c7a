package mandrilltest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// maxRequestBytes bounds an API request. Those of inbound/send-raw contain whole messages.
const maxRequestBytes = 64 << 20

// Fault is an answer that replaces the execution of a call. With an empty Name the body is the page of a proxy.
type Fault struct {
	Status  int    `json:"status"`
	Name    string `json:"name"`
	Code    int    `json:"code"`
	Message string `json:"message"`
	// After executes the call and then loses its answer, as a broken connection does. The caller gets Status.
	After bool `json:"after"`
}

// Fail makes the next calls with a name ("webhooks/add", or "*" for any) fail, one call per fault. [Posts] makes the next posts of batches
// fail: the emulator acts as if it had got Status, or no answer if that is 0. With After the batch is posted, and its answer is lost, so
// that it is posted again.
func (s *Server) Fail(call string, faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[call] = append(s.faults[call], faults...)
}

func (s *Server) takeFault(call string) (Fault, bool) {
	if fault, ok := s.takeFaultOf(call); ok {
		return fault, true
	}
	return s.takeFaultOf("*")
}

func (s *Server) takeFaultOf(name string) (Fault, bool) {
	queued := s.faults[name]
	if len(queued) == 0 {
		return Fault{}, false
	}
	s.faults[name] = queued[1:]
	return queued[0], true
}

// apiError is the body of Mandrill's errors, with the HTTP status to send it with.
type apiError struct {
	httpStatus int
	Status     string `json:"status"`
	Code       int    `json:"code"`
	Name       string `json:"name"`
	Message    string `json:"message"`
}

func (e *apiError) Error() string { return e.Name }

func newError(status, code int, name, message string) *apiError {
	return &apiError{status, "error", code, name, message}
}

// invalid returns the error for an invalid argument. Its text contains a JSON object with the field as key.
func invalid(field, reason string) *apiError {
	fields, err := json.Marshal(map[string]string{field: reason})
	if err != nil {
		panic(err) // strings always encode
	}
	return newError(http.StatusBadRequest, -2, "ValidationError", "Validation error: "+string(fields))
}

func errInvalidKey() *apiError {
	return newError(http.StatusUnauthorized, -1, "Invalid_Key", "Invalid API key")
}

// fieldType is the JSON type of an argument.
type fieldType int

const (
	typeString fieldType = iota
	typeInteger
	typeStrings
	typeBoolean
	typeObject
	typeObjects
)

// typeNames are the types in Mandrill's words.
var typeNames = []string{"a string", "an integer", "an array of strings", "a boolean", "an object", "an array of objects"}

type field struct {
	name     string
	kind     fieldType
	required bool
	nullable bool
}

// arguments are the decoded fields of a call: string, int64, []string, bool or json.RawMessage; null and missing fields are absent.
type arguments map[string]any

func (a arguments) string(name string) string { s, _ := a[name].(string); return s }
func (a arguments) int(name string) int64     { n, _ := a[name].(int64); return n }
func (a arguments) strings(name string) []string {
	list, _ := a[name].([]string)
	return list
}

// apiCall is one call of the API.
type apiCall struct {
	fields []field
	run    func(context.Context, *Account, arguments) (any, error)
}

var (
	idField  = field{name: "id", kind: typeInteger, required: true}
	webhook_ = []field{
		{name: "url", required: true},
		{name: "description", nullable: true},
		{name: "events", kind: typeStrings},
	}
	domainField  = []field{{name: "domain", required: true}}
	routeIDField = field{name: "id", required: true}
)

var apiCalls = map[string]apiCall{
	"users/ping":            {nil, ping},
	"users/info":            {nil, userInfo},
	"webhooks/list":         {nil, listWebhooks},
	"webhooks/add":          {webhook_, addWebhook},
	"webhooks/info":         {[]field{idField}, infoWebhook},
	"webhooks/update":       {append([]field{idField}, webhook_...), updateWebhook},
	"webhooks/delete":       {[]field{idField}, deleteWebhook},
	"inbound/domains":       {nil, listDomains},
	"inbound/add-domain":    {domainField, addDomain},
	"inbound/check-domain":  {domainField, checkDomain},
	"inbound/delete-domain": {domainField, deleteDomain},
	"inbound/routes":        {domainField, listRoutes},
	"inbound/add-route": {[]field{
		{name: "domain", required: true}, {name: "pattern", required: true}, {name: "url", required: true},
	}, addRoute},
	"inbound/update-route": {[]field{
		routeIDField, {name: "pattern", nullable: true}, {name: "url", nullable: true},
	}, updateRoute},
	"inbound/delete-route": {[]field{routeIDField}, deleteRoute},
	"inbound/send-raw": {[]field{
		{name: "raw_message", required: true}, {name: "to", kind: typeStrings, nullable: true},
		{name: "mail_from", nullable: true}, {name: "helo", nullable: true}, {name: "client_address", nullable: true},
	}, sendRaw},
	"messages/send":          {sendFields, sendMessage},
	"messages/send-template": {sendTemplateFields, sendTemplate},
}

var apiPath = regexp.MustCompile(`^/api/1\.\d+/([a-z]+/[a-z-]+)(\.json)?$`)

// ServeHTTP answers the API and the emulator's controls.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/emulator/") {
		s.serveControl(w, r)
		return
	}
	match := apiPath.FindStringSubmatch(r.URL.Path)
	if match == nil {
		writeJSON(w, http.StatusNotFound, newError(http.StatusNotFound, -1, "GeneralError", "No such path; the API is at /api/1.0/<group>/<call>.json"))
		return
	}
	if r.Method != http.MethodPost {
		writeJSON(w, http.StatusMethodNotAllowed, newError(http.StatusMethodNotAllowed, -1, "GeneralError", "Calls are made with POST"))
		return
	}
	name := match[1]
	s.mu.Lock()
	s.calls = append(s.calls, name)
	fault, faulty := s.takeFault(name)
	s.mu.Unlock()
	if faulty && !fault.After {
		writeFault(w, fault)
		return
	}
	result, err := s.answer(r, name)
	switch {
	case faulty:
		writeFault(w, fault)
	case err != nil:
		refused, ok := err.(*apiError) //nolint:errorlint // answer wraps nothing
		if !ok {
			refused = newError(http.StatusInternalServerError, -1, "GeneralError", err.Error())
		}
		writeJSON(w, refused.httpStatus, refused)
	default:
		writeJSON(w, http.StatusOK, result)
	}
}

func writeFault(w http.ResponseWriter, fault Fault) {
	if fault.Name == "" {
		http.Error(w, "<html><body>Bad gateway</body></html>", fault.Status)
		return
	}
	writeJSON(w, fault.Status, newError(fault.Status, fault.Code, fault.Name, fault.Message))
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(err) // all bodies are of this package
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(encoded) // the client may have gone away
}

func (s *Server) answer(r *http.Request, name string) (any, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBytes))
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, invalid("key", "The request body is not a JSON object")
	}
	rawKey, ok := fields["key"]
	if !ok {
		return nil, invalid("key", "Please enter a value")
	}
	key, ok := decodeField(rawKey, typeString).(string)
	if !ok {
		return nil, invalid("key", "Please enter a string")
	}
	s.mu.Lock()
	account := s.accounts[key]
	refused := account == nil || account.revoked
	s.mu.Unlock()
	if refused {
		return nil, errInvalidKey()
	}
	call, ok := apiCalls[name]
	if !ok {
		return nil, newError(http.StatusNotFound, -1, "GeneralError", fmt.Sprintf("No call is named %q", name))
	}
	delete(fields, "key")
	args, refusal := decodeArguments(call.fields, fields)
	if refusal != nil {
		return nil, refusal
	}
	return call.run(r.Context(), account, args)
}

func decodeArguments(specs []field, given map[string]json.RawMessage) (arguments, *apiError) {
	args := arguments{}
	for name := range given {
		if !slices.ContainsFunc(specs, func(f field) bool { return f.name == name }) {
			return nil, invalid(name, "There is no such field")
		}
	}
	for _, spec := range specs {
		raw, ok := given[spec.name]
		switch {
		case ok && string(raw) == "null" && spec.nullable:
		case ok:
			value := decodeField(raw, spec.kind)
			if value == nil {
				return nil, invalid(spec.name, "Please enter "+typeNames[spec.kind])
			}
			if value == "" && spec.required {
				return nil, invalid(spec.name, "Please enter a value")
			}
			args[spec.name] = value
		case spec.required:
			return nil, invalid(spec.name, "Please enter a value")
		}
	}
	return args, nil
}

// decodeField returns a string, int64, []string, bool or json.RawMessage, or nil when raw is of another type.
func decodeField(raw json.RawMessage, kind fieldType) any {
	switch kind {
	case typeString:
		return decodeAs[string](raw)
	case typeInteger:
		return decodeAs[int64](raw)
	case typeBoolean:
		return decodeAs[bool](raw)
	case typeObject:
		return rawOf[map[string]json.RawMessage](raw)
	case typeObjects:
		return rawOf[[]map[string]json.RawMessage](raw)
	default:
		var list []*string
		if json.Unmarshal(raw, &list) != nil || list == nil {
			return nil
		}
		out := make([]string, 0, len(list))
		for _, s := range list {
			if s == nil {
				return nil
			}
			out = append(out, *s)
		}
		return out
	}
}

// decodeAs decodes a value of a type, or returns nil.
func decodeAs[T any](raw json.RawMessage) any {
	var value *T
	if json.Unmarshal(raw, &value) != nil || value == nil {
		return nil
	}
	return *value
}

// rawOf returns what is of a type as it is, or nil.
func rawOf[T any](raw json.RawMessage) any {
	if decodeAs[T](raw) == nil {
		return nil
	}
	return raw
}

func ping(context.Context, *Account, arguments) (any, error) { return "PONG!", nil }
