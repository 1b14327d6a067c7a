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

// SignatureHeader is the header with the signature of a webhook request.
const SignatureHeader = "X-Mandrill-Signature"

// TestKey signs the empty batch with which Mandrill probes a URL, before there is a webhook with a key of its own. The key
// is public: it must never authenticate a batch with events.
const TestKey = "test-webhook"

// Sign returns the signature of a request: the HMAC-SHA1, in padded base64, of url followed by the name and value of each
// field, in byte order of the names. The key is used as ASCII bytes. The url must be the string stored at Mandrill, byte
// for byte, whatever host or path a proxy shows the receiver.
func Sign(key, url string, form Form) string {
	return base64.StdEncoding.EncodeToString(sum(key, url, form))
}

// Verify reports whether one of the keys made the signature. It compares in constant time. An empty key or a malformed
// signature never verifies.
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

// NonceForm is what is signed of a nonce. No batch has this form, so a signature of a nonce is none of a batch.
func NonceForm(nonce string) Form {
	return Form{{Name: "mandrill_operator_nonce", Value: []byte(nonce)}}
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
