package mandrilltest

import (
	"encoding/json"
	"net/http"
	"strings"
)

// maxEmit bounds the events of one control request.
const maxEmit = 1_000_000

type controlRequest struct {
	Key   string   `json:"key"`
	Kinds []string `json:"kinds"`
	Count int      `json:"count"`
	ID    int64    `json:"id"`
}

func (s *Server) serveControl(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "the emulator's controls take POST", http.StatusMethodNotAllowed)
		return
	}
	request := controlRequest{Count: 1}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		http.Error(w, "the body is not the JSON object expected here: "+err.Error(), http.StatusBadRequest)
		return
	}
	account := s.controlAccount(request.Key)
	if account == nil {
		http.Error(w, "name the account by its API key in the field \"key\"", http.StatusBadRequest)
		return
	}
	var result any
	var err error
	switch strings.TrimPrefix(r.URL.Path, "/emulator/") {
	case "events":
		result, err = account.emitCount(request.Kinds, request.Count)
	case "flush":
		result, err = struct{}{}, s.Flush(r.Context())
	case "webhooks":
		result, err = listWebhooks(r.Context(), account, nil)
	case "reset-key":
		var key string
		key, err = account.ResetKey(request.ID)
		result = map[string]string{"auth_key": key}
	case "send-test":
		var events [][]byte
		events, err = account.SendTest(request.ID)
		result = eventList(events)
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, http.StatusOK, result)
}

func (s *Server) controlAccount(key string) *Account {
	if key == "" && len(s.options.APIKeys) == 1 {
		key = s.options.APIKeys[0]
	}
	return s.Account(key)
}

func (a *Account) emitCount(names []string, count int) (any, error) {
	if len(names) == 0 {
		names = Kinds()
	}
	count = max(1, min(count, maxEmit/len(names)))
	var all [][]byte
	for range count {
		events, err := a.Emit(names...)
		if err != nil {
			return nil, err
		}
		all = append(all, events...)
	}
	return eventList(all), nil
}

// eventList returns events as strings, so that decoding the JSON keeps their bytes.
func eventList(events [][]byte) map[string][]string {
	list := make([]string, len(events))
	for i, event := range events {
		list[i] = string(event)
	}
	return map[string][]string{"events": list}
}
