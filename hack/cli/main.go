// Command cli writes the reference of kubectl mandrill into a document, from the help of its commands.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mandrill-operator/mandrill-operator/cli"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
)

// marker is before the part that is generated, which goes to the end.
const marker = "<!-- Generated from the help of the commands: run make generate. -->\n"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: cli DOCUMENT")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "cli:", err)
		os.Exit(1)
	}
}

func write(path string) error {
	data, err := os.ReadFile(path) //nolint:gosec // a file of this repository
	if err != nil {
		return err
	}
	written, _, found := strings.Cut(string(data), marker)
	if !found {
		return errors.New(path + " has no marker")
	}
	return os.WriteFile(path, []byte(written+marker+reference()), 0o644) //nolint:gosec // as the other documents
}

func reference() string {
	var text strings.Builder
	env := &access.Env{Now: time.Now}
	root := cli.New(env)
	each(root, func(command *cobra.Command) {
		fmt.Fprintf(&text, "\n### %s\n\n```\n%s\n```\n", command.CommandPath(), wrapped(describe(command)))
	})
	return text.String()
}

// each calls a function with the commands that do something.
func each(command *cobra.Command, call func(*cobra.Command)) {
	for _, child := range command.Commands() {
		if child.Runnable() && !child.Hidden && child.Name() != "help" {
			call(child)
		}
		each(child, call)
	}
}

// describe is the help of a command without the flags that all have.
func describe(command *cobra.Command) string {
	long := command.Long
	if long == "" {
		long = command.Short + "."
	}
	text := long + "\n\n" + "Usage: " + command.UseLine()
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.SortFlags = true
	command.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "help" {
			flags.AddFlag(flag)
		}
	})
	if usage := flags.FlagUsagesWrapped(135); usage != "" {
		text += "\n\n" + strings.TrimRight(usage, "\n")
	}
	return text
}

const width = 136

// joined joins the lines of paragraphs, which the sources wrap at another width. Lines that are indented stay as they are.
func joined(text string) string {
	var out []string
	inParagraph := false
	for line := range strings.SplitSeq(text, "\n") {
		isText := line != "" && !strings.HasPrefix(line, " ")
		if isText && inParagraph {
			out[len(out)-1] += " " + line
		} else {
			out = append(out, line)
		}
		inParagraph = isText
	}
	return strings.Join(out, "\n")
}

// wrapped breaks long lines, which go on with the same indentation.
func wrapped(text string) string {
	var out []string
	for line := range strings.SplitSeq(joined(text), "\n") {
		indentation := line[:len(line)-len(strings.TrimLeft(line, " "))]
		for len(line) > width {
			at := strings.LastIndexByte(line[:width], ' ')
			if at <= len(indentation) {
				break
			}
			out = append(out, line[:at])
			line = indentation + line[at+1:]
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}
