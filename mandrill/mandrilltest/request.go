package mandrilltest

import (
	"bytes"
	"context"
	"net/http"
	"net/url"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Batch joins events into the JSON array that Mandrill posts.
func Batch(events ...[]byte) []byte {
	batch := append([]byte{'['}, bytes.Join(events, []byte{','})...)
	return append(batch, ']')
}

// Body returns the form body for a batch.
func Body(batch []byte) []byte {
	return []byte(mandrill.EventsField + "=" + url.QueryEscape(string(batch)))
}

// NewRequest returns the POST that Mandrill sends for a batch: to target, signed with key for the registered URL. The two
// URLs differ behind a proxy. It fails if target is not a URL.
func NewRequest(ctx context.Context, target, registeredURL, key string, batch []byte) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(Body(batch)))
	if err != nil {
		return nil, err
	}
	form := mandrill.Form{{Name: mandrill.EventsField, Value: batch}}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("User-Agent", userAgent)
	request.Header.Set("Accept", "*/*")
	request.Header.Set(mandrill.SignatureHeader, mandrill.Sign(key, registeredURL, form))
	return request, nil
}
