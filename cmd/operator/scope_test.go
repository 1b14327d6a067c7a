package main

import (
	"slices"
	"strings"
	"testing"
)

func TestScopeOfAnInstallation(t *testing.T) {
	t.Parallel()
	o, err := parseFlags([]string{"--watch-namespaces=shop,news", "--installation", "blue"})
	if err != nil || !slices.Equal(o.scope.Namespaces, []string{"shop", "news"}) || o.scope.Installation != "blue" || o.scope.LeaseName() != "mandrill-operator-blue" {
		t.Errorf("got %+v, error %v", o.scope, err)
	}
	o, err = parseFlags([]string{"--watch-namespaces="})
	if err != nil || len(o.scope.Namespaces) != 0 || !o.scope.Watches("any") || o.scope.LeaseName() != "mandrill-operator" {
		t.Errorf("got %+v, error %v", o.scope, err)
	}
	for flag, want := range map[string]string{
		"--watch-namespaces=Shop":                   `--watch-namespaces: "Shop" is not the name of a namespace`,
		"--installation=Blue":                       `--installation: "Blue" is not a name`,
		"--installation=" + strings.Repeat("b", 41): "of at most 40 lower case letters",
	} {
		if _, err := parseFlags([]string{flag}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want one with %q", flag, err, want)
		}
	}
}
