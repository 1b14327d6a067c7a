package mandrill_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

type vector struct{ Name, Key, URL, Body, Signature string }

func vectors(tb testing.TB) []vector {
	tb.Helper()
	data, err := os.ReadFile("testdata/signature-vectors.json")
	if err != nil {
		tb.Fatal(err)
	}
	var list []vector
	if err := json.Unmarshal(data, &list); err != nil {
		tb.Fatal(err)
	}
	if len(list) != 10 {
		tb.Fatalf("got %d vectors, want 10", len(list))
	}
	return list
}

func parse(tb testing.TB, body string) mandrill.Form {
	tb.Helper()
	form, err := mandrill.ParseForm([]byte(body))
	if err != nil {
		tb.Fatalf("parsing the vector's body: %v", err)
	}
	return form
}

func TestSignatureVectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			form := parse(t, v.Body)
			if got := mandrill.Sign(v.Key, v.URL, form); got != v.Signature {
				t.Errorf("Sign = %s, want %s", got, v.Signature)
			}
			if !mandrill.Verify(v.Signature, v.URL, form, "other", v.Key) {
				t.Error("Verify refused the vector")
			}
			if mandrill.Verify(v.Signature, v.URL, form, "other", "") {
				t.Error("Verify accepted a wrong key")
			}
			if mandrill.Verify(v.Signature, v.URL+"/", form, v.Key) {
				t.Error("Verify accepted another URL")
			}
			extra := append(mandrill.Form{{Name: "a", Value: []byte("b")}}, form...)
			if mandrill.Verify(v.Signature, v.URL, extra, v.Key) {
				t.Error("Verify accepted an added field")
			}
		})
	}
}

// The vector "slash-escapes" with the mistakes of other implementations.
func TestSignatureNegativeControls(t *testing.T) {
	t.Parallel()
	var v vector
	for _, candidate := range vectors(t) {
		if candidate.Name == "slash-escapes" {
			v = candidate
		}
	}
	form := parse(t, v.Body)
	mac, err := base64.StdEncoding.DecodeString(v.Signature)
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(mac) != "1f3466563f4e5a5dc1b99f6729595c8f4d54a7f4" {
		t.Fatalf("the vector's MAC is %x", mac)
	}
	for name, signature := range map[string]string{
		"hex":               hex.EncodeToString(mac),
		"unescaped slashes": "3UYd0v4IlXD38mOKC7BZ93+xOw4=",
		"empty":             "",
		"unpadded":          strings.TrimRight(v.Signature, "="),
		"short":             base64.StdEncoding.EncodeToString(mac[:10]),
		"long":              base64.StdEncoding.EncodeToString(append(bytes.Clone(mac), 0)),
		"not base64":        "!!!!",
		"line break":        v.Signature[:10] + "\n" + v.Signature[10:],
		"several":           v.Signature + "," + v.Signature,
	} {
		if mandrill.Verify(signature, v.URL, form, v.Key) {
			t.Errorf("Verify accepted the %s signature %q", name, signature)
		}
	}
	unescaped := mandrill.Form{{Name: mandrill.EventsField, Value: bytes.ReplaceAll(form.Get(mandrill.EventsField), []byte(`\/`), []byte("/"))}}
	if got := mandrill.Sign(v.Key, v.URL, unescaped); got != "3UYd0v4IlXD38mOKC7BZ93+xOw4=" {
		t.Errorf("the MAC of the unescaped JSON is %s", got)
	}
}

func TestVerifyWithoutKeys(t *testing.T) {
	t.Parallel()
	form := mandrill.Form{{Name: mandrill.EventsField, Value: []byte("[]")}}
	if mandrill.Verify(mandrill.Sign("", "https://x.example", form), "https://x.example", form) {
		t.Error("no key verified")
	}
	if mandrill.Verify(mandrill.Sign("", "https://x.example", form), "https://x.example", form, "") {
		t.Error("an empty key verified")
	}
}

func FuzzVerify(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Signature, v.URL, v.Body, v.Key)
	}
	f.Fuzz(func(t *testing.T, signature, url, body, key string) {
		form, err := mandrill.ParseForm([]byte(body))
		if err != nil {
			return
		}
		if mandrill.Verify(signature, url, form, "") {
			t.Fatal("an empty key verified")
		}
		if key != "" && !mandrill.Verify(mandrill.Sign(key, url, form), url, form, key) {
			t.Fatal("a signature of ours does not verify")
		}
	})
}
