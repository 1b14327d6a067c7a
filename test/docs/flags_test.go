package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mandrill-operator/mandrill-operator/cli"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
)

// flagsOf returns the names of all flags that a program and its subcommands define.
func flagsOf(t *testing.T, program string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "cmd", program, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	nested, err := filepath.Glob(filepath.Join(root, "cmd", program, "*", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, nested...)
	found := map[string]bool{}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if call, ok := node.(*ast.CallExpr); ok {
				if name, ok := flagName(call); ok {
					found[name] = true
				}
			}
			return true
		})
	}
	if len(found) < 5 {
		t.Fatalf("only %d flags of %s were found", len(found), program)
	}
	return found
}

// flagName returns which flag a call like flags.StringVar(&o.listen, "listen", ":8080", "...") defines.
func flagName(call *ast.CallExpr) (string, bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", false
	}
	if receiver, ok := method.X.(*ast.Ident); !ok || receiver.Name != "flags" && receiver.Name != "flag" {
		return "", false
	}
	position := 0 // of the name among the arguments: flags.String("listen", ...)
	if strings.HasSuffix(method.Sel.Name, "Var") {
		position = 1
	}
	if strings.HasPrefix(method.Sel.Name, "New") || len(call.Args) < position+2 { // the name, and at least its usage
		return "", false
	}
	literal, ok := call.Args[position].(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", false
	}
	name, err := strconv.Unquote(literal.Value)
	return name, err == nil
}

// pluginFlags are the flags of kubectl-mandrill.
func pluginFlags() map[string]bool {
	found := map[string]bool{}
	var visit func(command *cobra.Command)
	visit = func(command *cobra.Command) {
		for _, flags := range []*pflag.FlagSet{command.Flags(), command.PersistentFlags()} {
			flags.VisitAll(func(flag *pflag.Flag) { found[flag.Name] = true })
		}
		for _, child := range command.Commands() {
			visit(child)
		}
	}
	visit(cli.New(&access.Env{}))
	return found
}

// The rights, and every command of kubectl-mandrill, are in its page. The flags are generated there.
func TestPluginCommands(t *testing.T) {
	t.Parallel()
	text := read(t, "docs/cli.md")
	rights, _, _ := strings.Cut(text[strings.Index(text, "## Rights"):], "## Exit status")
	for _, command := range cli.New(&access.Env{}).Commands() {
		if !strings.Contains(text, "### kubectl mandrill "+command.Name()) && command.Runnable() {
			t.Errorf("docs/cli.md has no reference of %s: run make generate", command.Name())
		}
		if !strings.Contains(rights, "`"+command.Name()) {
			t.Errorf("docs/cli.md does not say which rights %s needs", command.Name())
		}
	}
}

// pagesOfFlags have all flags: the page about installation, and those that it refers to for some of them.
var pagesOfFlags = []string{"docs/install.md", "docs/lifecycle.md", "docs/buffer.md", "docs/delivery.md", "docs/standalone.md"}

var flagInText = regexp.MustCompile(`(?:^|[^\w-])--([a-z][a-z0-9-]*)`)

// foreign are flags of other programs that the documents name.
var foreign = map[string]bool{
	"unix-socket": true,                                                                                         // curl's
	"install":     true, "namespace": true, "create-namespace": true, "set": true, "values": true, "wait": true, // Helm's
	"reset-then-reuse-values": true, "force-conflicts": true, // Helm's
	"all": true, "all-namespaces": true, "cascade": true, "for": true, "raw": true, "tail": true, "previous": true, "field-selector": true, // kubectl's
	"sort-by": true, "rm": true, "restart": true, "image": true, // kubectl's
	"target": true,                                                                // docker
	"type":   true, "certificate-oidc-issuer": true, "certificate-identity": true, // cosign
	"full-ref": true, "platform": true, // crane
	"http-address": true, "upstream": true, "provider": true, "email-domain": true, // oauth2-proxy's
	"manifest-url": true, // krew
}

// Every flag of the operator and the receiver is documented, and every flag that a document names exists.
func TestFlags(t *testing.T) {
	t.Parallel()
	var pages strings.Builder
	for _, page := range pagesOfFlags {
		pages.WriteString(read(t, page))
	}
	known := flagsOf(t, "mandrill-emulator")
	for name := range pluginFlags() {
		known[name] = true
	}
	for _, program := range []string{"operator", "receiver"} {
		for name := range flagsOf(t, program) {
			known[name] = true
			if !strings.Contains(pages.String(), "`--"+name+"`") {
				t.Errorf("none of %s has --%s of the %s", strings.Join(pagesOfFlags, ", "), name, program)
			}
		}
	}
	for _, document := range documents(t) {
		if document == "CHANGELOG.md" { // it has names of before
			continue
		}
		for _, each := range linesOf(read(t, document)) {
			for _, match := range flagInText.FindAllStringSubmatch(each.text, -1) {
				if !known[match[1]] && !foreign[match[1]] {
					t.Errorf("%s:%d: no program has --%s", document, each.number, match[1])
				}
			}
		}
	}
}
