package main

import (
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/version"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run(t.Context(), []string{"--version"}, &out); err != nil || out.String() != "mandrill-emulator "+version.Get().String()+"\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}
