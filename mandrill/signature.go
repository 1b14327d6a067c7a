package mandrill

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Mandrill's choice: HMAC-SHA1 is still sound as a MAC
	"encoding/base64"
	"hash"
	"io"
	"slices"
	"strings"
)

// SignatureHeader carries the signature of a webhook request.
const SignatureHeader = "X-Mandrill-Signature"

// TestKey signs the empty batch with which Mandrill checks a URL before a webhook, and so a key, exists.
// Everybody knows it: it must never vouch for a batch that has events.
const TestKey = "test-webhook"

// Sign returns the signature of a request: padded base64 of the HMAC-SHA1, keyed with the ASCII bytes of
// key, of url followed by name and value of each body field in byte order of the names. The url is the
// string stored at Mandrill, byte for byte, whatever host or path a proxy shows the receiver.
func Sign(key, url string, form Form) string {
	return base64.StdEncoding.EncodeToString(sum(key, url, form))
}

// Verify tells whether signature is that of any of the keys. It compares in constant time, and an empty
// key or a malformed signature never verifies.
func Verify(signature, url string, form Form, keys ...string) bool {
	if len(signature) != base64.StdEncoding.EncodedLen(sha1.Size) {
		return false
	}
	got, err := base64.StdEncoding.Strict().DecodeString(signature)
	if err != nil || len(got) != sha1.Size {
		return false
	}
	ok := false
	for _, key := range keys {
		if key != "" && hmac.Equal(got, sum(key, url, form)) {
			ok = true
		}
	}
	return ok
}

func sum(key, url string, form Form) []byte {
	mac := hmac.New(sha1.New, []byte(key))
	writeString(mac, url)
	fields := form
	if len(form) > 1 {
		fields = slices.Clone(form)
		slices.SortFunc(fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	}
	for _, field := range fields {
		writeString(mac, field.Name)
		mac.Write(field.Value)
	}
	return mac.Sum(nil)
}

func writeString(h hash.Hash, s string) {
	_, _ = io.WriteString(h, s) // a hash never fails
}
