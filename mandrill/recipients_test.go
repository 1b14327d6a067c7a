package mandrill_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Every place where Mandrill has the recipient is read, and no other.
func TestRecipients(t *testing.T) {
	t.Parallel()
	for event, want := range map[string][]string{
		`{"event":"open","msg":{"email":"a@example.com","metadata":{"email":"m@example.com"}}}`:                                                                               {"a@example.com"},
		`{"event":"inbound","msg":{"email":"in@example.com","to":[["t@example.com","T"],["u@example.com",null]],"cc":[["c@example.com",null]],"from_email":"f@example.com"}}`: {"in@example.com", "t@example.com", "u@example.com", "c@example.com"},
		`{"event":"inbound","msg":{"to":["t@example.com"],"email":"in@example.com"}}`:                                                                                         {"t@example.com", "in@example.com"},
		`{"event":"inbound","msg":{"to":"t@example.com"}}`:                                                                                                                    {"t@example.com"},
		`{"type":"blacklist","action":"add","reject":{"email":"r@example.com"}}`:                                                                                              {"r@example.com"},
		`{"type":"whitelist","action":"add","entry":{"email":"e@example.com"}}`:                                                                                               {"e@example.com"},
		`{"event":"send","msg":[]}`:                              nil,
		`{"event":"send","msg":null}`:                            nil,
		`{"event":"send","msg":{"email":null,"to":[[],null,7]}}`: {"7"},
		`{"event":"send","msg":{"email":"a@example.com"}`:        nil,
		`7`: nil,
		``:  nil,
	} {
		if diff := cmp.Diff(want, mandrill.Recipients([]byte(event))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", event, diff)
		}
	}
}
