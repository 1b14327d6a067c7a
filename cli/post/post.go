// Package post sends requests to webhook URLs as Mandrill does.
package post

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Answer is an answer of a webhook URL.
type Answer struct {
	Status int
	Header http.Header
	Body   string // its beginning
}

// maxAnswer is what is read of an answer; those of receivers are words.
const maxAnswer = 4 << 10

// Head asks whether the URL is served. With a key it also asks for the object of the receiver, see [routes.NonceHeader].
func Head(ctx context.Context, client *http.Client, registered, key, nonce string) (Answer, error) {
	request, err := newRequest(ctx, http.MethodHead, registered, nil)
	if err != nil {
		return Answer{}, err
	}
	if key != "" {
		request.Header.Set(routes.NonceHeader, nonce)
		request.Header.Set(mandrill.SignatureHeader, mandrill.Sign(key, registered, mandrill.NonceForm(nonce)))
	}
	return do(client, request)
}

// Batch posts a batch that is signed for the URL.
func Batch(ctx context.Context, client *http.Client, registered, key string, batch []byte) (Answer, error) {
	body := []byte(mandrill.EventsField + "=" + url.QueryEscape(string(batch)))
	request, err := newRequest(ctx, http.MethodPost, registered, body)
	if err != nil {
		return Answer{}, err
	}
	form := mandrill.Form{{Name: mandrill.EventsField, Value: batch}}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set(mandrill.SignatureHeader, mandrill.Sign(key, registered, form))
	return do(client, request)
}

// newRequest makes a request. Its error does not quote the URL, which may hold secrets.
func newRequest(ctx context.Context, method, registered string, body []byte) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, registered, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the URL cannot be requested")
	}
	if user := request.URL.User; user != nil {
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
	}
	request.Header.Set("User-Agent", "kubectl-mandrill")
	return request, nil
}

func do(client *http.Client, request *http.Request) (Answer, error) {
	once := *client
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := once.Do(request)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) { // its text has the URL
			err = failed.Err
		}
		return Answer{}, err
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return Answer{response.StatusCode, response.Header, string(text)}, nil
}
