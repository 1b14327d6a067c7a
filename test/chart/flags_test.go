package chart_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// defined finds the name of a flag in the call that defines it, such as flags.StringVar(&o.listen, "listen", ...).
var defined = regexp.MustCompile(`flags\.(?:\w*Var\(.*?, *|Func\(\s*)"([a-z-]+)"`)

// Every flag that the chart passes is one that the program has.
func TestFlagsExist(t *testing.T) {
	t.Parallel()
	known := map[string]map[string]bool{}
	for _, program := range []string{"operator", "receiver"} {
		known[program] = map[string]bool{}
		files, err := filepath.Glob(filepath.Join(root, "cmd", program, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			for _, match := range defined.FindAllStringSubmatch(readFile(t, path), -1) {
				known[program][match[1]] = true
			}
		}
	}
	checked := 0
	for _, values := range examples(t) {
		for _, object := range template(t, "--values", values, "--set", "receiver.drain.ordinals={1}") {
			pod := podOf(t, object)
			if pod == nil {
				continue
			}
			container := pod.Spec.Containers[0]
			for _, arg := range container.Args {
				name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
				checked++
				if !known[container.Name][name] {
					t.Errorf("%s: the %s has no flag --%s", filepath.Base(values), container.Name, name)
				}
			}
		}
	}
	sidecar := samplePod(t, "sidecar.yaml").Spec.InitContainers[0]
	for _, arg := range sidecar.Args {
		if name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "="); !known["receiver"][name] {
			t.Errorf("the receiver has no flag --%s, which a sidecar gets", name)
		}
	}
	if checked < 100 {
		t.Errorf("only %d flags were checked", checked)
	}
}
