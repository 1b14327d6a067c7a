package mandrilltest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Template is a template of an account. messages/send-template takes from it what the message does not have.
type Template struct {
	Subject   string `json:"subject"`
	FromEmail string `json:"from_email"`
	HTML      string `json:"html"`
}

// reasons are those for which an address may be on the denylist.
var reasons = []string{"hard-bounce", "soft-bounce", "spam", "unsub", "custom"}

// SetTemplates replaces the templates of the account, by slug.
func (a *Account) SetTemplates(templates map[string]Template) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	a.templates = maps.Clone(templates)
}

// SetSubaccounts replaces the subaccounts of the account.
func (a *Account) SetSubaccounts(ids ...string) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	a.subaccounts = map[string]bool{}
	for _, id := range ids {
		a.subaccounts[id] = true
	}
}

// SetDenylist replaces the denylist of the account: addresses, and the reasons for which they are on it. No event is made.
func (a *Account) SetDenylist(list map[string]string) error {
	lower := map[string]string{}
	for address, reason := range list {
		if !slices.Contains(reasons, reason) {
			return errors.New("the reasons of a denylist are " + strings.Join(reasons, ", "))
		}
		lower[strings.ToLower(address)] = reason
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	a.denylist = lower
	return nil
}

// accountControl sets the parts of the account that the request has, and returns all.
func accountControl(c controlCall) (any, error) {
	var request struct {
		common
		Templates   map[string]Template `json:"templates"`
		Subaccounts []string            `json:"subaccounts"`
		Denylist    map[string]string   `json:"denylist"`
	}
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	a := c.account
	if request.Denylist != nil {
		if err := a.SetDenylist(request.Denylist); err != nil {
			return nil, err
		}
	}
	if request.Templates != nil {
		a.SetTemplates(request.Templates)
	}
	if request.Subaccounts != nil {
		a.SetSubaccounts(request.Subaccounts...)
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	return map[string]any{
		"templates": maps.Clone(a.templates), "subaccounts": append([]string{}, slices.Sorted(maps.Keys(a.subaccounts))...), "denylist": maps.Clone(a.denylist),
	}, nil
}

// messagesControl returns the messages that were sent, and what has happened to them.
func messagesControl(c controlCall) (any, error) {
	if err := c.decode(&common{}); err != nil {
		return nil, err
	}
	a := c.account
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	list := []map[string]any{}
	for _, sent := range a.sent {
		list = append(list, map[string]any{
			"_id": sent.id, "email": sent.email, "subject": sent.subject, "ts": sent.ts.Unix(), "state": sent.state,
			"events": append([]string{}, sent.events...), "ahead": sent.ahead,
		})
	}
	return map[string]any{"messages": list}, nil
}

// clockControl sets the clock, and returns what it says.
func clockControl(c controlCall) (any, error) {
	var request struct {
		common
		Now     time.Time `json:"now"`
		Advance string    `json:"advance"`
		Speed   float64   `json:"speed"`
	}
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	s := c.server
	var advance time.Duration
	if request.Advance != "" {
		var err error
		if advance, err = time.ParseDuration(request.Advance); err != nil || advance < 0 {
			return nil, errors.New("advance must be a duration above zero, such as 20m")
		}
	}
	if request.Speed != 0 && !IsSpeed(request.Speed) {
		return nil, fmt.Errorf("speed must be %v to %v", minSpeed, maxSpeed)
	}
	if request.Speed > 0 {
		s.clock.setSpeed(request.Speed)
	}
	if !request.Now.IsZero() {
		s.clock.advanceTo(request.Now)
	}
	s.Advance(advance)
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]any{"now": s.clock.now().UTC().Format(time.RFC3339), "speed": s.clock.rate(), "ahead": len(s.steps)}, nil
}
