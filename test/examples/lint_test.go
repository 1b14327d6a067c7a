package examples_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

// moduleFile returns a file of a Go module, which is downloaded and not built. Programs that cannot be started here are described there.
func moduleFile(t *testing.T, module, path string) []byte {
	t.Helper()
	command := exec.Command("go", "mod", "download", "-json", module)
	command.Dir = os.TempDir() // outside of this module, which does not need it
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go mod download %s: %v\n%s", module, err, output)
	}
	var downloaded struct{ Dir string }
	if err := json.Unmarshal(output, &downloaded); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(downloaded.Dir, path))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func parseYAML(t *testing.T, data []byte) any {
	t.Helper()
	var value any
	if err := yaml.Unmarshal(data, &value, yaml.DisallowUnknownFields); err != nil {
		t.Fatal(err)
	}
	return value
}

// numbered is a name that the user chooses, as Traefik's reference writes it.
var numbered = regexp.MustCompile(`^[A-Z]\w*?\d+$`)

// unknown returns the paths of a configuration that its reference does not have. Where the reference has several examples of one thing, one
// of them must have all of it.
func unknown(path string, got, reference any) []string {
	switch got := got.(type) {
	case map[string]any:
		fields, isMap := reference.(map[string]any)
		if !isMap {
			return []string{path}
		}
		var paths []string
		for name, value := range got {
			paths = append(paths, unknownField(path+"/"+name, name, value, fields)...)
		}
		return paths
	case []any:
		list, isList := reference.([]any)
		if !isList || len(list) == 0 {
			return []string{path}
		}
		var paths []string
		for _, value := range got {
			paths = append(paths, unknown(path, value, list[0])...)
		}
		return paths
	default:
		switch reference.(type) {
		case map[string]any, []any:
			return []string{path}
		}
		return nil
	}
}

func unknownField(path, name string, value any, fields map[string]any) []string {
	if reference, ok := fields[name]; ok {
		return unknown(path, value, reference)
	}
	fewest := []string{path}
	for example, reference := range fields {
		if !numbered.MatchString(example) {
			continue
		}
		if paths := unknown(path, value, reference); len(paths) == 0 {
			return nil
		} else if len(paths[0]) > len(fewest[0]) {
			fewest = paths // the example that fits best
		}
	}
	return fewest
}

// Traefik's own reference has every field of its example, and not one with a mistake.
func TestTraefikFilesHaveFieldsOfItsReference(t *testing.T) {
	t.Parallel()
	const module, folder = "github.com/traefik/traefik/v3@v3.7.13", "docs/content/reference/"
	for file, test := range map[string]struct{ reference, right, wrong string }{
		"proxies/traefik.yaml":          {"static-configuration/file.yaml", "readTimeout", "readTimeouts"},
		"proxies/traefik-mandrill.yaml": {"dynamic-configuration/file.yaml", "responseHeaderTimeout", "responseTimeout"},
	} {
		reference := parseYAML(t, moduleFile(t, module, folder+test.reference))
		example := readExample(t, file)
		if paths := unknown("", parseYAML(t, []byte(example)), reference); len(paths) > 0 {
			t.Errorf("%s: Traefik has no %v", file, paths)
		}
		wrong := strings.ReplaceAll(example, test.right, test.wrong)
		if paths := unknown("", parseYAML(t, []byte(wrong)), reference); len(paths) != 1 || !strings.HasSuffix(paths[0], "/"+test.wrong) {
			t.Errorf("%s: %s instead of %s was found as %v", file, test.wrong, test.right, paths)
		}
		if !strings.Contains(example, "Timeout: 120s") {
			t.Errorf("%s has no timeout", file)
		}
	}
}

// The schema of Docker Compose accepts the example, and not one with a mistake.
func TestComposeFileIsValid(t *testing.T) {
	t.Parallel()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(moduleFile(t, "github.com/compose-spec/compose-go/v2@v2.16.2", "schema/compose-spec.json")))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("compose-spec.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("compose-spec.json")
	if err != nil {
		t.Fatal(err)
	}
	example := readExample(t, "compose/compose.yaml")
	if err := schema.Validate(parseYAML(t, []byte(example))); err != nil {
		t.Error(err)
	}
	if schema.Validate(parseYAML(t, []byte(strings.ReplaceAll(example, "stop_grace_period", "stop_period")))) == nil {
		t.Error("the schema accepts a field that does not exist")
	}
}
