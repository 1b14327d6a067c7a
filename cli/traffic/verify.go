package traffic

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mandrill-operator/mandrill-operator/api/pasted"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

const verifyLong = `verify reads a captured request from standard input and says whether its signature is right. If it is not, it tries the usual causes,
such as another port, scheme or key, or a body that a proxy has encoded again, and names the one that explains the signature.

The input is an HTTP request as it travels, with its headers, or only the body with --signature. The URL is the one that is registered
at Mandrill. URL and key come from the webhook NAME, or from --url and --key-from: secret:NAME[:KEY] of the namespace, or file:PATH.

  kubectl mandrill verify transactional < request
  kubectl mandrill verify --url https://hooks.example.com/mandrill --key-from file:key < request

Without a webhook or a Secret it needs no cluster. It exits with 2 if the signature is wrong.`

// verifying are the flags of verify.
type verifying struct {
	env                     *access.Env
	url, keyFrom, signature string
	asShown                 string // URL by the request's own host and path
}

// NewVerify returns the command verify.
func NewVerify(env *access.Env) *cobra.Command {
	v := &verifying{env: env}
	command := &cobra.Command{
		Use: "verify [NAME] < REQUEST", Short: "Say why the signature of a captured request does not match", Long: verifyLong, Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return v.run(command.Context(), strings.Join(args, ""))
		},
		ValidArgsFunction: env.CompleteWebhooks,
	}
	flags := command.Flags()
	flags.StringVar(&v.url, "url", "", "the URL exactly as it is registered at Mandrill")
	flags.StringVar(&v.keyFrom, "key-from", "", "where the signing key is: secret:NAME[:KEY] or file:PATH")
	flags.StringVar(&v.signature, "signature", "", "the header X-Mandrill-Signature, if the input is only a body")
	return command
}

// maxRequest bounds the input.
const maxRequest = 128 << 20

func (v *verifying) run(ctx context.Context, name string) error {
	key, err := v.key(ctx, name)
	if err != nil {
		return err
	}
	body, err := v.read()
	if err != nil {
		return err
	}
	verdict, right := Explain(v.url, v.asShown, key, v.signature, body)
	if _, err := fmt.Fprintln(v.env.Out, verdict); err != nil {
		return err
	}
	if !right {
		return output.Problems
	}
	return nil
}

// key finds the key, and the URL if it is not given.
func (v *verifying) key(ctx context.Context, name string) (string, error) {
	if name == "" && (v.url == "" || v.keyFrom == "") {
		return "", errors.New("give the NAME of a webhook, or --url and --key-from")
	}
	if path, isFile := strings.CutPrefix(v.keyFrom, "file:"); isFile && v.url != "" {
		data, err := os.ReadFile(path) //nolint:gosec // the person's file
		if err != nil {
			return "", fmt.Errorf("--key-from: %w", err)
		}
		return string(data), nil
	}
	cluster, err := v.env.Connect(&v.env.Flags)
	if err != nil {
		return "", err
	}
	secret, field := "", "signing-key"
	if name != "" {
		webhook, err := cluster.Webhook(ctx, name)
		if err != nil {
			return "", err
		}
		secret = access.SigningKeySecret(webhook)
	}
	if reference, isSecret := strings.CutPrefix(v.keyFrom, "secret:"); isSecret {
		var hasKey bool
		var named string
		if secret, named, hasKey = strings.Cut(reference, ":"); hasKey {
			field = named
		}
	} else if v.keyFrom != "" {
		return "", errors.New("--key-from must be secret:NAME[:KEY] or file:PATH")
	}
	if v.url == "" {
		if v.url, err = cluster.SecretValue(ctx, cluster.Namespace, secret, "url"); err != nil {
			return "", err
		}
	}
	return cluster.SecretValue(ctx, cluster.Namespace, secret, field)
}

// read reads the request, or the body.
func (v *verifying) read() ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(v.env.In, maxRequest))
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	if len(data) == 0 {
		return nil, errors.New("standard input is empty: give it the captured request")
	}
	if !looksLikeRequest(data) {
		if v.signature == "" {
			return nil, errors.New("the input has no headers: give the value of X-Mandrill-Signature by --signature")
		}
		return data, nil
	}
	request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(crlf(data))))
	if err != nil {
		return nil, fmt.Errorf("the input begins like a request and is none: %w", err)
	}
	if v.signature == "" {
		v.signature = request.Header.Get(mandrill.SignatureHeader)
	}
	if v.signature == "" {
		return nil, errors.New("the request has no header X-Mandrill-Signature: it is not from Mandrill, or a proxy has removed it")
	}
	v.asShown = "https://" + request.Host + request.URL.RequestURI()
	body := []byte{}
	if _, rest, found := bytes.Cut(data, []byte("\r\n\r\n")); found {
		body = rest
	} else if _, rest, found := bytes.Cut(data, []byte("\n\n")); found {
		body = rest
	}
	return body, nil
}

func looksLikeRequest(data []byte) bool {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return bytes.Contains(line, []byte(" HTTP/"))
}

// crlf gives the headers the line ends that editors take away.
func crlf(data []byte) []byte {
	if bytes.Contains(data, []byte("\r\n")) {
		return data
	}
	head, body, _ := bytes.Cut(data, []byte("\n\n"))
	head = bytes.ReplaceAll(head, []byte("\n"), []byte("\r\n"))
	return append(append(head, "\r\n\r\n"...), body...)
}

// change is something that would make a signature right.
type change struct {
	says string
	url  string
	key  string
	form mandrill.Form
}

// Explain says whether a signature is right, or which change makes it right.
func Explain(registered, asShown, key, signature string, body []byte) (verdict string, right bool) {
	form, err := mandrill.ParseForm(bytes.Clone(body))
	if err != nil {
		return "The body is no form, so it is not what Mandrill has sent: " + err.Error(), false
	}
	if mandrill.Verify(signature, registered, form, key) {
		return "The signature is right: the URL and the key are those that Mandrill has.", true
	}
	for _, change := range changes(registered, asShown, key, form, body) {
		if mandrill.Verify(signature, change.url, change.form, change.key) {
			return "The signature is wrong. " + change.says, false
		}
	}
	return "The signature is wrong, and no usual change makes it right. Most likely the key is that of another webhook, or was reset at Mandrill: " +
		"compare it with the key that Mandrill shows. Or the URL at Mandrill is another one, or the content was changed on the way.", false
}

func changes(registered, asShown, key string, form mandrill.Form, body []byte) (list []change) {
	urls := append([]change{{url: registered}}, urlChanges(registered, asShown)...)
	keys := []change{{key: key}}
	if trimmed := strings.Trim(pasted.Trim(key), `"'`); trimmed != key {
		keys = append(keys, change{key: trimmed, says: "The key has spaces, a line end or quotation marks around it: remove them."})
	}
	keys = append(keys, change{key: mandrill.TestKey, says: "It is signed with the key test-webhook, as Mandrill's check of a URL: such a request must be an empty batch."})
	forms := append([]change{{form: form}}, formChanges(form, body)...)
	for _, u := range urls {
		for _, k := range keys {
			for _, f := range forms {
				list = append(list, change{url: u.url, key: k.key, form: f.form, says: strings.Join(strings.Fields(u.says+" "+k.says+" "+f.says), " ")})
			}
		}
	}
	return list
}

// urlChanges are the ways in which URLs are mistyped, and changed by proxies.
func urlChanges(registered, asShown string) (list []change) {
	add := func(changed, says string) {
		if changed != registered && changed != "" {
			list = append(list, change{url: changed, says: says + ": Mandrill has signed for " + changed + "."})
		}
	}
	scheme, rest, _ := strings.Cut(registered, "://")
	end := strings.IndexAny(rest, "/?")
	authority, path := rest, ""
	if end >= 0 {
		authority, path = rest[:end], rest[end:]
	}
	add(toggleSlash(registered), "The URL differs by a slash at its end")
	other := map[string]string{"http": "https", "https": "http"}[scheme]
	add(other+"://"+rest, "The URL has another scheme")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		add(scheme+"://"+authority[at+1:]+path, "The URL is registered without user and password")
	}
	port := map[string]string{"http": ":80", "https": ":443"}[scheme]
	add(scheme+"://"+authority+port+path, "The URL is registered with its port")
	if colon := strings.LastIndexByte(authority, ':'); colon > strings.LastIndexByte(authority, ']') {
		add(scheme+"://"+authority[:colon]+path, "The URL is registered without the port")
	}
	add(scheme+"://"+strings.ToLower(authority)+path, "The URL differs in capital letters of the host")
	if query := strings.IndexByte(registered, '?'); query >= 0 {
		add(registered[:query], "The URL is registered without its query")
	}
	add(other+"://"+authority+toggleSlash(path), "The URL has another scheme, and differs by a slash at its end")
	for _, shown := range []string{asShown, strings.Replace(asShown, "https://", "http://", 1), toggleSlash(asShown)} {
		add(shown, "The URL that you gave is not the one of the request")
	}
	return list
}

func toggleSlash(url string) string {
	before, query, hasQuery := strings.Cut(url, "?")
	if trimmed, ends := strings.CutSuffix(before, "/"); ends {
		before = trimmed
	} else {
		before += "/"
	}
	if hasQuery {
		return before + "?" + query
	}
	return before
}

// formChanges are the ways in which bodies are changed between Mandrill and the capture.
func formChanges(form mandrill.Form, body []byte) (list []change) {
	value := form.Get(mandrill.EventsField)
	add := func(changed []byte, says string) {
		if !bytes.Equal(changed, value) {
			list = append(list, change{form: mandrill.Form{{Name: mandrill.EventsField, Value: changed}}, says: says})
		}
	}
	add(bytes.TrimRight(value, "\r\n"), "The body was captured with a line end that was not sent.")
	add(bytes.ReplaceAll(bytes.ReplaceAll(value, []byte(`\/`), []byte(`/`)), []byte(`/`), []byte(`\/`)),
		`The body was re-encoded: Mandrill writes \/ for / in JSON, and something has decoded and encoded it.`)
	add(bytes.ReplaceAll(value, []byte(" "), []byte("+")), "The body was decoded twice: each + was taken for a space.")
	if form, err := mandrill.ParseForm(bytes.Clone(bytes.ReplaceAll(body, []byte("%20"), []byte("+")))); err == nil {
		add(form.Get(mandrill.EventsField), "The body was re-encoded.")
	}
	if raw, found := bytes.CutPrefix(body, []byte(mandrill.EventsField+"=")); found {
		add(raw, "The captured body is decoded already: capture the bytes as they travel.")
	}
	return list
}
