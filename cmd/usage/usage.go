// Package usage is what the programs have in common: help, and answers to mistyped words.
package usage

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/nearest"
)

// Subcommand is a word that may follow the name of a program.
type Subcommand struct{ Name, Does string }

// Group is a group of flags in help: those whose name begins with a prefix.
type Group struct {
	Title    string
	Prefixes []string
}

// Help makes -h print a program's subcommands and its flags in groups, as kubectl writes them. Flags of no group come first.
func Help(flags *flag.FlagSet, does string, subcommands []Subcommand, groups ...Group) {
	flags.Usage = func() {
		out := flags.Output()
		sections := []string{does + "\n\nUsage: " + flags.Name() + " [flags]\n"}
		for _, subcommand := range subcommands {
			sections = append(sections, fmt.Sprintf("       %s %-14s %s\n", flags.Name(), subcommand.Name, subcommand.Does))
		}
		taken := map[string]bool{}
		var grouped []string
		for _, group := range groups {
			grouped = append(grouped, section(flags, group.Title, func(f *flag.Flag) bool {
				in := !taken[f.Name] && slices.ContainsFunc(group.Prefixes, func(prefix string) bool { return strings.HasPrefix(f.Name, prefix) })
				taken[f.Name] = taken[f.Name] || in
				return in
			}))
		}
		sections = append(sections, section(flags, "Flags", func(f *flag.Flag) bool { return !taken[f.Name] }))
		_, _ = fmt.Fprint(out, strings.Join(append(sections, grouped...), "")) // nowhere else to say it
	}
}

// section is a title with the flags that are in it.
func section(flags *flag.FlagSet, title string, in func(*flag.Flag) bool) string {
	var text strings.Builder
	flags.VisitAll(func(f *flag.Flag) {
		if !in(f) {
			return
		}
		name, usage := flag.UnquoteUsage(f)
		if name != "" {
			name = " " + name
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && !strings.Contains(usage, "default") {
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(&text, "  --%s%s\n        %s\n", f.Name, name, usage)
	})
	if text.Len() == 0 {
		return ""
	}
	return "\n" + title + ":\n" + text.String()
}

// Parse parses arguments. For a flag that does not exist the error names the closest one, and the usage is not printed.
func Parse(flags *flag.FlagSet, args []string) error {
	usage := flags.Usage
	failed := false
	flags.Usage = func() { failed = true }
	out := flags.Output()
	flags.SetOutput(discard{})
	err := flags.Parse(args)
	flags.SetOutput(out)
	flags.Usage = usage
	switch {
	case errors.Is(err, flag.ErrHelp):
		if usage != nil {
			usage()
		}
	case err != nil && failed:
		if name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); unknown {
			var names []string
			flags.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
			if near := nearest.Name(strings.TrimPrefix(name, "-"), names); near != "" {
				return fmt.Errorf("%w: did you mean --%s?", err, near)
			}
		}
		return fmt.Errorf("%w; see %s -h", err, flags.Name())
	}
	return err
}

type discard struct{}

func (discard) Write(data []byte) (int, error) { return len(data), nil }

// Unexpected returns the error for an argument that is no subcommand.
func Unexpected(argument string, subcommands []Subcommand) error {
	var names []string
	for _, subcommand := range subcommands {
		names = append(names, subcommand.Name)
	}
	if strings.HasPrefix(argument, "-") {
		return fmt.Errorf("unexpected argument %q", argument)
	}
	return fmt.Errorf("unexpected argument %q%s", argument, nearest.DidYouMean(argument, names))
}
