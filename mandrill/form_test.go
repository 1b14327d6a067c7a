package mandrill_test

import (
	"bytes"
	"errors"
	"mime/multipart"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

func TestParseForm(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, body string
		want       mandrill.Form
		wantErr    error
	}{
		{"empty", "", nil, nil},
		{"one", "a=b", mandrill.Form{{Name: "a", Value: []byte("b")}}, nil},
		{"order is kept", "b=1&a=2", mandrill.Form{{Name: "b", Value: []byte("1")}, {Name: "a", Value: []byte("2")}}, nil},
		{"empty pairs", "&&a=b&", mandrill.Form{{Name: "a", Value: []byte("b")}}, nil},
		{"no equals sign", "a", mandrill.Form{{Name: "a", Value: []byte{}}}, nil},
		{"equals sign in value", "a=b=c", mandrill.Form{{Name: "a", Value: []byte("b=c")}}, nil},
		{"plus and escapes", "a+b=%2B+%5c%2F%e2%82%ac", mandrill.Form{{Name: "a b", Value: []byte("+ \\/€")}}, nil},
		{"bytes that are no UTF-8", "a=%ff%00", mandrill.Form{{Name: "a", Value: []byte{0xff, 0}}}, nil},
		{"escaped delimiters", "%26%3D=%26&b%3D=%3D%26", mandrill.Form{{Name: "&=", Value: []byte("&")}, {Name: "b=", Value: []byte("=&")}}, nil},
		{"no name", "=1&a", mandrill.Form{{Name: "", Value: []byte("1")}, {Name: "a"}}, nil},
		{"semicolon", "a=b;c", mandrill.Form{{Name: "a", Value: []byte("b;c")}}, nil},
		{"escape cut short", "a=%4", nil, mandrill.ErrFormEscape},
		{"escape alone", "a=b%", nil, mandrill.ErrFormEscape},
		{"escape cut short by the next field", "a=%4&1=2", nil, mandrill.ErrFormEscape},
		{"escape of another letter and the next field", "a=%&41", nil, mandrill.ErrFormEscape},
		{"escape with other letters", "a=%4g", nil, mandrill.ErrFormEscape},
		{"escape in name", "%zz=1", nil, mandrill.ErrFormEscape},
		{"repeated", "a=1&b=2&a=1", nil, mandrill.ErrRepeatedName},
		{"repeated under an escape", "a=1&%61=1", nil, mandrill.ErrRepeatedName},
		{"long name", strings.Repeat("n", 1024) + "=1", mandrill.Form{{Name: strings.Repeat("n", 1024), Value: []byte("1")}}, nil},
		{"too long a name", strings.Repeat("n", 1025) + "=1", nil, mandrill.ErrLongName},
		{"too long a name later", "a=1&" + strings.Repeat("%6E", 1025), nil, mandrill.ErrLongName},
		{"too many", "x=1" + manyFields(64), nil, mandrill.ErrTooManyNames},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for size := 1; size <= len(test.body)+1; size += 1 + len(test.body)/50 {
				got, err := decodePieces(test.body, size)
				if !errors.Is(err, test.wantErr) {
					t.Fatalf("in pieces of %d bytes: got error %v, want %v", size, err, test.wantErr)
				}
				if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("in pieces of %d bytes: form (-want +got):\n%s", size, diff)
				}
			}
		})
	}
}

// decodePieces decodes a body that arrives in pieces of a size, in a buffer that moves.
func decodePieces(body string, size int) (mandrill.Form, error) {
	var decoder mandrill.FormDecoder
	var buffer []byte
	for piece := range slices.Chunk([]byte(body), size) {
		buffer = slices.Concat(buffer, piece)
		buffer = buffer[:decoder.Decode(buffer)]
	}
	return decoder.Form(buffer)
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("&f" + strings.Repeat("i", i) + "=1")
	}
	return b.String()
}

func TestParseMultipart(t *testing.T) {
	t.Parallel()
	var body bytes.Buffer
	writer := multipart.NewWriter(&body)
	for _, field := range []string{"mandrill_events", "extra"} {
		if err := writer.WriteField(field, `[{"a":"\/+%41"}]`); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	whole := body.String()
	form, err := mandrill.ParseMultipart(strings.NewReader(whole), writer.Boundary())
	if err != nil {
		t.Fatal(err)
	}
	if got := string(form.Get(mandrill.EventsField)); len(form) != 2 || got != `[{"a":"\/+%41"}]` {
		t.Errorf("got %d fields, events %q", len(form), got)
	}
	for name, broken := range map[string]struct {
		body string
		want error
	}{
		"repeated": {strings.ReplaceAll(whole, `name="extra"`, `name="mandrill_events"`), mandrill.ErrRepeatedName},
		"file":     {strings.ReplaceAll(whole, `name="extra"`, `name="extra"; filename="f"`), mandrill.ErrFilePart},
		"cut":      {whole[:len(whole)-20], nil},
	} {
		_, err := mandrill.ParseMultipart(strings.NewReader(broken.body), writer.Boundary())
		if err == nil || broken.want != nil && !errors.Is(err, broken.want) {
			t.Errorf("%s: got error %v, want %v", name, err, broken.want)
		}
	}
}

// Except for semicolons and repeated names, ParseForm accepts what net/url accepts, and decodes it to the same bytes, also when
// the body arrives in pieces.
func FuzzParseForm(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Body, 1000)
	}
	f.Add("a=%4&&b;c=+%2B&a=1", 1)
	f.Add("%26=%26%3d&=&b=a=%41%zz&c%3D", 2)
	f.Fuzz(func(t *testing.T, body string, size int) {
		form, err := mandrill.ParseForm([]byte(body))
		pieces, piecesErr := decodePieces(body, max(size, 1+len(body)/64))
		if (err == nil) != (piecesErr == nil) || !cmp.Equal(form, pieces, cmpopts.EquateEmpty()) {
			t.Fatalf("in pieces of %d bytes: %v, %v, want %v, %v", size, pieces, piecesErr, form, err)
		}
		want, wantErr := url.ParseQuery(body)
		if wantErr == nil && err != nil && !errors.Is(err, mandrill.ErrRepeatedName) && !errors.Is(err, mandrill.ErrTooManyNames) &&
			!errors.Is(err, mandrill.ErrLongName) {
			t.Fatalf("net/url accepts what ParseForm refuses: %v", err)
		}
		if wantErr != nil && err == nil && !strings.Contains(body, ";") {
			t.Fatalf("ParseForm accepts what net/url refuses: %v", wantErr)
		}
		if err != nil || wantErr != nil {
			return
		}
		if len(form) != len(want) {
			t.Fatalf("got %d fields, net/url has %d", len(form), len(want))
		}
		for _, field := range form {
			if want.Get(field.Name) != string(field.Value) {
				t.Fatalf("field %q is %q, net/url has %q", field.Name, field.Value, want.Get(field.Name))
			}
		}
	})
}
