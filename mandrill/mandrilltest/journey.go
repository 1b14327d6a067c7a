package mandrilltest

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// sentMessage is a message to one recipient. The server's mutex guards it.
type sentMessage struct {
	id, email, sender, subject, subaccount, template, link string
	tags                                                   []string
	metadata                                               map[string]any
	ts                                                     time.Time
	state                                                  string
	rejected                                               string // why it was not sent
	opens, clicks, smtpEvents                              []any
	events                                                 []string // that have happened
	ahead                                                  int      // events that have not
}

// journeys are the events of messages by the local part of the recipient's address, without what follows a plus sign.
var journeys = map[string][]string{
	"":            {"send", "delivered", "open", "click"}, // of any other
	"quiet":       {"send", "delivered"},
	"bounce":      {"send", "hard_bounce"},
	"hard-bounce": {"send", "hard_bounce"},
	"soft-bounce": {"send", "soft_bounce"},
	"defer":       {"send", "deferral", "delivered", "open", "click"},
	"spam":        {"send", "delivered", "open", "spam"},
	"unsub":       {"send", "delivered", "open", "click", "unsub"},
	"reject":      {"reject"},
}

// delays are the times between an event and the one before it.
var delays = map[string]time.Duration{
	"send": 0, "reject": 0, "deferral": time.Second, "delivered": 2 * time.Second, "hard_bounce": 2 * time.Second, "soft_bounce": 2 * time.Second,
	"open": time.Minute, "click": 5 * time.Second, "spam": time.Minute, "unsub": time.Minute,
}

// listed are the reasons for which an event puts the recipient on the denylist.
var listed = map[string]string{"hard_bounce": "hard-bounce", "spam": "spam", "unsub": "unsub"}

// ruleOf returns the local part of an address that decides what happens to a message, or nothing.
func ruleOf(email string) string {
	local, _, _ := strings.Cut(strings.ToLower(email), "@")
	local, _, _ = strings.Cut(local, "+")
	if _, known := journeys[local]; known {
		return local
	}
	return ""
}

var link = regexp.MustCompile(`(?i)<a\s[^>]*href\s*=\s*["']?(https?://[^"'\s>]+)`)

// journeyOf returns the events of a message. A message is opened if it has HTML, and clicked if that has a link.
func journeyOf(email string, message *outgoing) []string {
	untracked := func(tracked *bool) bool { return tracked != nil && !*tracked }
	return slices.DeleteFunc(slices.Clone(journeys[ruleOf(email)]), func(kind string) bool {
		return kind == "open" && (message.HTML == "" || untracked(message.TrackOpens)) ||
			kind == "click" && (!link.MatchString(message.HTML) || untracked(message.TrackClicks))
	})
}

func newSentMessage(id string, message *outgoing, email, template string, at time.Time) *sentMessage {
	sent := &sentMessage{
		id: id, email: email, sender: message.FromEmail, subject: message.Subject, subaccount: message.Subaccount, template: template,
		tags: slices.Clone(message.Tags), metadata: map[string]any{}, ts: at, state: "sent", opens: []any{}, clicks: []any{}, smtpEvents: []any{},
	}
	if found := link.FindStringSubmatch(message.HTML); found != nil {
		sent.link = found[1]
	}
	all := []json.RawMessage{message.Metadata}
	for _, each := range message.RecipientMetadata {
		if strings.EqualFold(each.Rcpt, email) {
			all = append(all, each.Values)
		}
	}
	for _, raw := range all {
		if decoded, err := object(raw); err == nil { // as it was when the message was checked
			maps.Copy(sent.metadata, decoded)
		}
	}
	return sent
}

// step is an event that will happen.
type step struct {
	at      time.Time
	account *Account
	sent    *sentMessage
	kind    string
}

// plan adds the steps of a message. The caller holds the server's mutex.
func (a *Account) plan(sent *sentMessage, kinds []string) {
	s, at := a.server, sent.ts
	for _, kind := range kinds {
		at = at.Add(delays[kind])
		place, _ := slices.BinarySearchFunc(s.steps, at, func(other step, at time.Time) int {
			if other.at.After(at) {
				return 1
			}
			return -1 // what was planned before comes first
		})
		s.steps = slices.Insert(s.steps, place, step{at, a, sent, kind})
		sent.ahead++
	}
	select {
	case s.planned <- struct{}{}:
	default: // it will look anyway
	}
}

// runDue makes all events happen whose time has come. The caller holds the mutex.
func (s *Server) runDue() {
	for now := s.clock.now(); len(s.steps) > 0 && !s.steps[0].at.After(now); {
		next := s.steps[0]
		s.steps = s.steps[1:]
		next.account.happen(next)
	}
}

// runSteps makes events happen when their time comes, until the server is closed.
func (s *Server) runSteps() {
	for {
		s.mu.Lock()
		s.runDue()
		at := s.clock.now().Add(time.Hour)
		if len(s.steps) > 0 {
			at = s.steps[0].at
		}
		s.mu.Unlock()
		if _, ok := wait(s.ctx, s.clock, at, s.planned); !ok {
			return
		}
	}
}

// happen makes an event of a message, and of the denylist if the event puts the recipient on it.
func (a *Account) happen(next step) {
	sent := next.sent
	sent.ahead--
	sent.events = append(sent.events, next.kind)
	k, err := kindNamed(next.kind)
	if err != nil {
		panic(err) // journeys has kinds only, which a test says
	}
	a.publish(k.subscription, sent.event(next.kind, next.at))
	if reason := listed[next.kind]; reason != "" {
		a.denylist[strings.ToLower(sent.email)] = reason
		entry := sample("sync-blacklist-add")
		at := next.at.UTC().Format(time.DateTime)
		maps.Copy(entry["reject"].(map[string]any), map[string]any{
			"email": sent.email, "reason": reason, "created_at": at, "last_event_at": at, "expires_at": nil, "subaccount": orNull(sent.subaccount),
		})
		entry["ts"] = next.at.Unix()
		a.publish("blacklist", encodePHP(entry))
	}
}

// event returns an event of the message, and adds it to the message's history.
func (m *sentMessage) event(kind string, at time.Time) []byte {
	event := sample(kind)
	body := event["msg"].(map[string]any)
	past := func(list *[]any, name string) { // takes an element of the sample's history
		if elements, _ := body[name].([]any); len(elements) > 0 {
			element := elements[len(elements)-1].(map[string]any)
			element["ts"] = at.Unix()
			if _, click := element["url"]; click {
				element["url"] = m.link
			}
			*list = append(*list, element)
		}
	}
	switch kind {
	case "open":
		past(&m.opens, "opens")
	case "click":
		past(&m.clicks, "clicks")
		event["url"] = m.link
	case "delivered", "deferral", "hard_bounce", "soft_bounce":
		past(&m.smtpEvents, "smtp_events")
	case "reject":
		maps.Copy(body["reject"].(map[string]any), map[string]any{"reason": m.rejected, "last_event_at": at.UTC().Format(time.DateTime)})
	}
	m.state, _ = body["state"].(string)
	var metadata any = m.metadata
	if len(m.metadata) == 0 {
		metadata = []any{} // PHP's empty map
	}
	maps.Copy(body, map[string]any{
		"_id": m.id, "ts": m.ts.Unix(), "email": m.email, "sender": m.sender, "subject": m.subject, "tags": append([]string{}, m.tags...), "metadata": metadata,
		"subaccount": orNull(m.subaccount), "template": orNull(m.template), "opens": m.opens, "clicks": m.clicks, "smtp_events": m.smtpEvents,
	})
	event["_id"], event["ts"] = m.id, at.Unix()
	return encodePHP(event)
}

// orNull returns a text, or nil for none.
func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}
