package mandrilltest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxEmit bounds the events of one control request.
	maxEmit = 1_000_000
	// maxControlBytes bounds a control request. An injected event may have attachments.
	maxControlBytes = 64 << 20
	// maxRefs bounds the answers that are remembered.
	maxRefs = 10_000
)

// control is one of the emulator's controls.
type control struct {
	reads bool // and so takes GET as well as POST
	run   func(controlCall) (any, error)
}

// controls are the controls by name.
var controls = map[string]control{
	"events":     {false, emitControl},
	"inject":     {false, injectControl},
	"flush":      {false, flushControl},
	"finish":     {false, finishControl},
	"fail":       {false, failControl},
	"reset-key":  {false, resetKeyControl},
	"send-test":  {false, sendTestControl},
	"reset":      {false, resetControl},
	"account":    {true, accountControl},
	"clock":      {true, clockControl},
	"webhooks":   {true, webhooksControl},
	"messages":   {true, messagesControl},
	"deliveries": {true, deliveriesControl},
	"samples":    {true, samplesControl},
}

// common are the fields of all control requests.
type common struct {
	Key string `json:"key"`
	Ref string `json:"ref"` // a request with the same as before changes nothing and gets the same answer
}

// controlCall is a control request.
type controlCall struct {
	ctx     context.Context
	server  *Server
	account *Account
	body    []byte // an object
	query   url.Values
}

// decode decodes the request strictly.
func (c controlCall) decode(into any) error {
	decoder := json.NewDecoder(bytes.NewReader(c.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("the body is not the JSON object expected here: %w", err)
	}
	return nil
}

func (s *Server) serveControl(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/emulator/")
	control, ok := controls[name]
	reading := ok && control.reads && r.Method == http.MethodGet
	if r.Method != http.MethodPost && !reading {
		http.Error(w, "the emulator's controls take POST, and those that only read take GET", http.StatusMethodNotAllowed)
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControlBytes))
	if err != nil {
		http.Error(w, "the body cannot be read: "+err.Error(), http.StatusBadRequest)
		return
	}
	if reading {
		body = []byte("{}")
	}
	request := common{Key: r.URL.Query().Get("key")}
	if err := json.Unmarshal(body, &request); err != nil {
		http.Error(w, "the body is not the JSON object expected here: "+err.Error(), http.StatusBadRequest)
		return
	}
	account := s.controlAccount(request.Key)
	if account == nil {
		http.Error(w, "name the account by its API key in the field \"key\"", http.StatusBadRequest)
		return
	}
	answer, err := s.once(name, request, func() (any, error) {
		return control.run(controlCall{r.Context(), s, account, body, r.URL.Query()})
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// once runs a control, or returns the answer that the same request got before.
func (s *Server) once(name string, request common, run func() (any, error)) (any, error) {
	if request.Ref == "" {
		return run()
	}
	s.refs.Lock() // until the answer is remembered
	defer s.refs.Unlock()
	key := [3]string{name, request.Key, request.Ref}
	s.mu.Lock()
	answer, known := s.answers[key]
	s.mu.Unlock()
	if known {
		return answer, nil
	}
	answer, err := run()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.answers) >= maxRefs {
		clear(s.answers)
	}
	s.answers[key] = answer
	return answer, nil
}

func (s *Server) controlAccount(key string) *Account {
	if key == "" && len(s.options.APIKeys) == 1 {
		key = s.options.APIKeys[0]
	}
	return s.Account(key)
}

func emitControl(c controlCall) (any, error) {
	request := struct {
		common
		Message
		Kinds []string `json:"kinds"`
		Count int      `json:"count"`
	}{Count: 1}
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	if len(request.Kinds) == 0 {
		request.Kinds = Kinds()
	}
	count := max(1, min(request.Count, maxEmit/len(request.Kinds)))
	events, err := c.account.EmitFor(request.Message, slices.Repeat(request.Kinds, count)...)
	if err != nil {
		return nil, err
	}
	return eventList(events), nil
}

func injectControl(c controlCall) (any, error) {
	var request struct {
		common
		rawEvent
		ID int64 `json:"id"`
	}
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	event, err := request.bytes()
	if err != nil {
		return nil, err
	}
	queued, err := c.account.Inject(request.ID, event)
	return map[string]int{"webhooks": queued}, err
}

func flushControl(c controlCall) (any, error) {
	return struct{}{}, errors.Join(c.decode(&common{}), c.server.Flush(c.ctx))
}

func finishControl(c controlCall) (any, error) {
	return struct{}{}, errors.Join(c.decode(&common{}), c.server.Finish(c.ctx))
}

func resetControl(c controlCall) (any, error) {
	if err := c.decode(&common{}); err != nil {
		return nil, err
	}
	c.server.Reset()
	return struct{}{}, nil
}

// webhookID decodes a request that names a webhook.
func (c controlCall) webhookID() (int64, error) {
	var request struct {
		common
		ID int64 `json:"id"`
	}
	err := c.decode(&request)
	return request.ID, err
}

func resetKeyControl(c controlCall) (any, error) {
	id, err := c.webhookID()
	if err != nil {
		return nil, err
	}
	key, err := c.account.ResetKey(id)
	return map[string]string{"auth_key": key}, err
}

func sendTestControl(c controlCall) (any, error) {
	id, err := c.webhookID()
	if err != nil {
		return nil, err
	}
	events, err := c.account.SendTest(id)
	return eventList(events), err
}

func webhooksControl(c controlCall) (any, error) {
	if err := c.decode(&common{}); err != nil {
		return nil, err
	}
	return listWebhooks(c.ctx, c.account, nil)
}

// failControl sets what the next calls of a name, or the next posts, are answered with. Count 0 takes it back.
func failControl(c controlCall) (any, error) {
	request := struct {
		common
		Fault
		Call  string `json:"call"`
		Count int    `json:"count"`
	}{Count: 1}
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	_, known := apiCalls[request.Call]
	posts := request.Call == Posts
	switch {
	case !known && !posts && request.Call != "*":
		return nil, fmt.Errorf("call must be that of an API call, such as messages/send, * for any, or %s", Posts)
	case request.Count < 0 || request.Count > maxRefs:
		return nil, fmt.Errorf("count must be 0 to %d", maxRefs)
	case request.Count > 0 && (request.Status < 400 || request.Status > 599) && (!posts || request.Status != 0):
		return nil, errors.New("status must be 400 to 599; for posts it may be left out, which means no answer")
	}
	faults := make([]Fault, request.Count)
	for i := range faults {
		faults[i] = request.Fault
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.server.faults[request.Call] = faults
	return struct{}{}, nil
}

func deliveriesControl(c controlCall) (any, error) {
	var request struct {
		common
		Since int64 `json:"since"` // the number of a delivery
	}
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	if text := c.query.Get("since"); text != "" {
		var err error
		if request.Since, err = strconv.ParseInt(text, 10, 64); err != nil {
			return nil, errors.New("since must be the number of a delivery")
		}
	}
	list := []map[string]any{}
	for _, d := range c.account.Deliveries() {
		if d.Number > request.Since {
			list = append(list, d.json())
		}
	}
	return map[string]any{"deliveries": list, "waiting": c.account.Waiting()}, nil
}

func samplesControl(c controlCall) (any, error) {
	samples := map[string]json.RawMessage{}
	for name, data := range Samples() {
		samples[name] = data
	}
	return map[string]any{"samples": samples}, c.decode(&common{})
}

// eventList returns events as strings, so that decoding the JSON keeps their bytes.
func eventList(events [][]byte) map[string][]string {
	list := make([]string, len(events))
	for i, event := range events {
		list[i] = string(event)
	}
	return map[string][]string{"events": list}
}
