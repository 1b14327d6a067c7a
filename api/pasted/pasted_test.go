package pasted_test

import (
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/api/pasted"
)

func TestTrimRemovesWhatFilesAdd(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"key", "key\n", "key\r\n", " key\t", "\ufeffkey\r\n", "\ufeff key", "\n\ufeffkey"} {
		if got := pasted.Trim(text); got != "key" {
			t.Errorf("%q: got %q", text, got)
		}
	}
}

func TestPastedExtrasAreFaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`"s3cret"`: "quotation marks", `'s3cret'`: "quotation marks", "`s3cret`": "quotation marks", `"s3cret`: "quotation marks",
		"\u201cs3cret\u201d": "quotation marks", "s3cret ": "white space", "\ts3cret": "white space", "s3cret\r": "white space",
		"\ufeffs3cret": "invisible character U+FEFF", "s3\u200bcret": "invisible character U+200B", "s3cret\u200e": "invisible character U+200E",
		"s3\u00adcret": "invisible character U+00AD", "s3\u00a0cret": "invisible character U+00A0", "s3\x00cret": "invisible character U+0000",
		"s3\ncret": "invisible character U+000A", "\xff\xfes\x003\x00": "UTF-16", "\xfe\xff\x00s": "UTF-16", "s3\xffcret": "not UTF-8",
	} {
		for name, fault := range map[string]string{"Fault": pasted.Fault(text), "KeyFault": pasted.KeyFault(text)} {
			if !strings.Contains(fault, want) || strings.Contains(fault, "cret") {
				t.Errorf("%s of %q: got %q, want %q and nothing of the text", name, text, fault, want)
			}
		}
	}
	for _, text := range []string{"", "s3cret", "kZ3vQm8yT1rWb6Xo-_aE4g", "it's", "https://user:pa%22ss@h.example/a?b=c"} {
		if fault := pasted.KeyFault(text); fault != "" {
			t.Errorf("%q: got %q", text, fault)
		}
	}
	for text, isKey := range map[string]bool{"a passphrase of words": false, "https://h.example/größe": false} {
		if fault := pasted.Fault(text); fault != "" {
			t.Errorf("%q: got %q", text, fault)
		}
		if fault := pasted.KeyFault(text); (fault == "") != isKey {
			t.Errorf("%q: got %q", text, fault)
		}
	}
}
