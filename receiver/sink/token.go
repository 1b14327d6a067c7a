package sink

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/pasted"
)

// tokenMaxAge is how long a token is cached. Kubelets renew projected tokens long before they expire.
const tokenMaxAge = 10 * time.Second

// Tokens reads OIDC tokens from files, such as those of a projected volume. It is safe for concurrent use.
type Tokens struct {
	Files map[string]string // by audience
	Now   func() time.Time  // default time.Now

	mu     sync.Mutex // guards tokens
	tokens map[string]token
}

type token struct {
	text   string
	readAt time.Time
}

// Token returns the token for an audience. Its errors name neither the audience nor the file.
func (t *Tokens) Token(audience string) (string, error) {
	path, known := t.Files[audience]
	if !known {
		return "", errors.New("there is no token for the sink's audience; run the receiver with --oidc-token to give it one")
	}
	now := time.Now
	if t.Now != nil {
		now = t.Now
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if cached, ok := t.tokens[audience]; ok && now().Sub(cached.readAt) < tokenMaxAge {
		return cached.text, nil
	}
	data, err := os.ReadFile(path) //nolint:gosec // named by the administrator
	if err != nil {
		return "", errors.New("the file with the token for the sink's audience cannot be read")
	}
	text := pasted.Trim(string(data))
	if text == "" {
		return "", errors.New("the file with the token for the sink's audience is empty")
	}
	if fault := pasted.KeyFault(text); fault != "" {
		return "", errors.New("the token for the sink's audience has " + fault)
	}
	if t.tokens == nil {
		t.tokens = map[string]token{}
	}
	t.tokens[audience] = token{text, now()}
	return text, nil
}
