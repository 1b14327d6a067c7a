package mandrill_test

import (
	"net/url"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

func BenchmarkParseForm(b *testing.B) {
	var batch [][]byte
	for _, sample := range mandrilltest.Samples() {
		batch = append(batch, sample)
	}
	body := []byte(url.Values{mandrill.EventsField: {string(mandrilltest.Batch(batch...))}}.Encode())
	scratch := make([]byte, len(body))
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		copy(scratch, body)
		if _, err := mandrill.ParseForm(scratch); err != nil {
			b.Fatal(err)
		}
	}
}
