package usage_test

import (
	"bytes"
	"errors"
	"flag"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/cmd/usage"
)

func newFlags(out *bytes.Buffer) *flag.FlagSet {
	flags := flag.NewFlagSet("receiver", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.String("listen", ":8080", "address of the endpoints")
	flags.String("buffer-dir", "", "folder of the buffer")
	flags.Bool("version", false, "print the version")
	usage.Help(flags, "The receiver serves.", []usage.Subcommand{{"check", "describe routes"}}, usage.Group{Title: "Buffer", Prefixes: []string{"buffer"}})
	return flags
}

// Help has the subcommands, and flags in groups and in kubectl's spelling.
func TestHelp(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := usage.Parse(newFlags(&out), []string{"-h"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("got %v", err)
	}
	want := `The receiver serves.

Usage: receiver [flags]
       receiver check          describe routes

Flags:
  --listen string
        address of the endpoints (default :8080)
  --version
        print the version

Buffer:
  --buffer-dir string
        folder of the buffer
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}

// A mistyped flag or subcommand leads to the one that was meant, without a page of usage.
func TestDidYouMean(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	for argument, want := range map[string]string{
		"--bufer-dir=x": "flag provided but not defined: -bufer-dir: did you mean --buffer-dir?", "--nonsense": "see receiver -h", "--version=maybe": "invalid boolean value",
	} {
		if err := usage.Parse(newFlags(&out), []string{argument}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", argument, err)
		}
	}
	if out.Len() > 0 {
		t.Errorf("printed %s", out.String())
	}
	commands := []usage.Subcommand{{"check", ""}, {"dead-letters", ""}}
	if err := usage.Unexpected("dead-leters", commands); err.Error() != `unexpected argument "dead-leters": did you mean dead-letters?` {
		t.Errorf("got %v", err)
	}
}
