package mandrilltest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// outgoing is the message of messages/send. Fields that do not change what the emulator does are checked all the same.
type outgoing struct {
	HTML                    string          `json:"html"`
	Text                    string          `json:"text"`
	Subject                 string          `json:"subject"`
	FromEmail               string          `json:"from_email"`
	FromName                string          `json:"from_name"`
	To                      []addressee     `json:"to"`
	Headers                 json.RawMessage `json:"headers"`
	Important               bool            `json:"important"`
	TrackOpens              *bool           `json:"track_opens"`
	TrackClicks             *bool           `json:"track_clicks"`
	AutoText                bool            `json:"auto_text"`
	AutoHTML                bool            `json:"auto_html"`
	InlineCSS               bool            `json:"inline_css"`
	URLStripQS              bool            `json:"url_strip_qs"`
	PreserveRecipients      bool            `json:"preserve_recipients"`
	ViewContentLink         bool            `json:"view_content_link"`
	BCCAddress              string          `json:"bcc_address"`
	TrackingDomain          string          `json:"tracking_domain"`
	SigningDomain           string          `json:"signing_domain"`
	ReturnPathDomain        string          `json:"return_path_domain"`
	Merge                   bool            `json:"merge"`
	MergeLanguage           string          `json:"merge_language"`
	GlobalMergeVars         []variable      `json:"global_merge_vars"`
	MergeVars               []variables     `json:"merge_vars"`
	Tags                    []string        `json:"tags"`
	Subaccount              string          `json:"subaccount"`
	GoogleAnalyticsDomains  []string        `json:"google_analytics_domains"`
	GoogleAnalyticsCampaign json.RawMessage `json:"google_analytics_campaign"`
	Metadata                json.RawMessage `json:"metadata"`
	RecipientMetadata       []values        `json:"recipient_metadata"`
	Attachments             []file          `json:"attachments"`
	Images                  []file          `json:"images"`
}

type addressee struct {
	Email string `json:"email"`
	Name  string `json:"name"`
	Type  string `json:"type"`
}

type variable struct {
	Name    string `json:"name"`
	Content any    `json:"content"`
}

type variables struct {
	Rcpt string     `json:"rcpt"`
	Vars []variable `json:"vars"`
}

type values struct {
	Rcpt   string          `json:"rcpt"`
	Values json.RawMessage `json:"values"`
}

type file struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Content []byte `json:"content"`
}

var (
	sendFields = []field{
		{name: "message", kind: typeObject, required: true}, {name: "async", kind: typeBoolean, nullable: true},
		{name: "ip_pool", nullable: true}, {name: "send_at", nullable: true},
	}
	sendTemplateFields = append([]field{
		{name: "template_name", required: true}, {name: "template_content", kind: typeObjects, required: true},
	}, sendFields...)
)

const (
	// maxTag is the longest tag that Mandrill takes.
	maxTag = 50
	// manyRecipients are always sent to asynchronously.
	manyRecipients = 10
)

// faultOf returns the error for an invalid field of the message, such as to.email.
func faultOf(path, reason string) *apiError {
	names := strings.Split(path, ".")
	var nested any = reason
	for i := len(names) - 1; i >= 0; i-- {
		nested = map[string]any{names[i]: nested}
	}
	encoded, err := json.Marshal(map[string]any{"message": nested})
	if err != nil {
		panic(err) // strings always encode
	}
	return newError(http.StatusBadRequest, -2, "ValidationError", "Validation error: "+string(encoded))
}

// decodeOutgoing decodes a message strictly.
func decodeOutgoing(raw json.RawMessage) (*outgoing, *apiError) {
	var message outgoing
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&message)
	mismatch := new(json.UnmarshalTypeError)
	switch {
	case errors.As(err, &mismatch):
		return nil, faultOf(mismatch.Field, "Please enter a value of the right type")
	case err != nil:
		name, unknown := strings.CutPrefix(err.Error(), "json: unknown field ")
		if !unknown {
			return nil, faultOf("attachments.content", "Please enter base64")
		}
		return nil, faultOf(strings.Trim(name, `"`), "There is no such field")
	}
	return &message, message.fault()
}

// fault returns what Mandrill refuses a message for.
func (m *outgoing) fault() *apiError {
	if len(m.To) == 0 {
		return faultOf("to", "Please enter an array")
	}
	for _, to := range m.To {
		if reason := addressFault(to.Email); reason != "" && !strings.HasPrefix(reason, "The domain") { // those become invalid
			return faultOf("to.email", reason)
		}
		if to.Type != "" && to.Type != "to" && to.Type != "cc" && to.Type != "bcc" {
			return faultOf("to.type", "Please enter to, cc or bcc")
		}
	}
	if reason := addressFault(m.FromEmail); m.FromEmail != "" && reason != "" {
		return faultOf("from_email", reason)
	}
	for _, tag := range m.Tags {
		if len(tag) > maxTag || strings.HasPrefix(tag, "_") {
			return faultOf("tags", "Tags have at most 50 characters and do not begin with an underscore")
		}
	}
	for name, raw := range map[string]json.RawMessage{"metadata": m.Metadata, "headers": m.Headers} {
		if _, err := object(raw); err != nil {
			return faultOf(name, "Please enter an object")
		}
	}
	for _, each := range m.RecipientMetadata {
		if _, err := object(each.Values); err != nil {
			return faultOf("recipient_metadata.values", "Please enter an object")
		}
	}
	return nil
}

// object decodes an object. Clients that are written in PHP send [] for an empty one.
func object(raw json.RawMessage) (map[string]any, error) {
	var list []any
	if len(raw) == 0 || json.Unmarshal(raw, &list) == nil && len(list) == 0 {
		return nil, nil
	}
	var decoded map[string]any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	return decoded, decoder.Decode(&decoded)
}

var domainName = regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$`)

// addressFault returns what is wrong with an address, in Mandrill's words.
func addressFault(address string) string {
	mailbox, domain, _ := strings.Cut(address, "@")
	switch {
	case address == "":
		return "Please enter a value"
	case strings.Count(address, "@") != 1:
		return "An email address must contain a single @"
	case mailbox == "" || strings.ContainsAny(mailbox, " <>"):
		return fmt.Sprintf("The username portion of the email address is invalid (the portion before the @: %s)", mailbox)
	case !domainName.MatchString(domain):
		return fmt.Sprintf("The domain portion of the email address is invalid (the portion after the @: %s)", domain)
	}
	return ""
}

func sendMessage(_ context.Context, a *Account, args arguments) (any, error) {
	message, refusal := decodeOutgoing(args["message"].(json.RawMessage))
	if refusal != nil {
		return nil, refusal
	}
	return a.accept(message, args, "") //nolint:contextcheck // senders live as long as the server
}

func sendTemplate(_ context.Context, a *Account, args arguments) (any, error) {
	message, refusal := decodeOutgoing(args["message"].(json.RawMessage))
	if refusal != nil {
		return nil, refusal
	}
	name := args.string("template_name")
	a.server.mu.Lock()
	template, ok := a.templates[name]
	a.server.mu.Unlock()
	if !ok {
		return nil, newError(http.StatusNotFound, 5, "Unknown_Template", fmt.Sprintf("No such template %q", name))
	}
	for field, value := range map[*string]string{&message.Subject: template.Subject, &message.FromEmail: template.FromEmail, &message.HTML: template.HTML} {
		if *field == "" {
			*field = value
		}
	}
	return a.accept(message, args, name) //nolint:contextcheck // senders live as long as the server
}

// accept sends a message, and returns what became of it for each recipient.
func (a *Account) accept(message *outgoing, args arguments, template string) (any, error) {
	s := a.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if message.Subaccount != "" && !a.subaccounts[message.Subaccount] {
		return nil, newError(http.StatusNotFound, 12, "Unknown_Subaccount", fmt.Sprintf("No subaccount exists with the id '%s'", message.Subaccount))
	}
	at := s.clock.now()
	if text := args.string("send_at"); text != "" {
		planned, err := time.Parse(time.DateTime, text)
		if err != nil {
			return nil, invalid("send_at", "Please enter a date as YYYY-MM-DD HH:MM:SS")
		}
		if planned.After(at) {
			at = planned
		}
	}
	async := args["async"] == true || len(message.To) > manyRecipients
	results := []any{}
	for _, to := range message.To {
		sent := newSentMessage(s.newMessageID(), message, to.Email, template, at)
		results = append(results, a.dispatch(sent, message, async))
	}
	s.runDue()
	return results, nil
}

// dispatch begins the way of a message, and returns what messages/send answers for its recipient.
func (a *Account) dispatch(sent *sentMessage, message *outgoing, async bool) map[string]any {
	answer := map[string]any{"email": sent.email, "_id": sent.id, "status": "sent", "reject_reason": nil, "queued_reason": nil}
	a.sent = append(a.sent, sent)
	kinds := journeyOf(sent.email, message)
	reason := a.rejection(sent)
	switch {
	case addressFault(sent.email) != "":
		answer["status"], sent.state, kinds = "invalid", "invalid", nil
	case reason != "":
		answer["status"], answer["reject_reason"], sent.rejected = "rejected", reason, reason
		kinds = []string{"reject"}
	case sent.ts.After(a.server.clock.now()):
		answer["status"], sent.state = "scheduled", "scheduled"
	}
	if async && answer["status"] != "scheduled" {
		answer["status"], answer["reject_reason"] = "queued", nil
		if len(message.To) > manyRecipients {
			answer["queued_reason"] = "multiple-recipients"
		}
	}
	a.plan(sent, kinds)
	return answer
}

// rejection returns why Mandrill refuses to send a message, or nothing.
func (a *Account) rejection(sent *sentMessage) string {
	if sent.sender == "" {
		return "invalid-sender"
	}
	if reason := a.denylist[strings.ToLower(sent.email)]; reason != "" {
		return reason
	}
	if ruleOf(sent.email) == "reject" {
		return "custom"
	}
	return ""
}
