package ui

import (
	"context"
	"os/exec"
	"runtime"
)

// openers are the programs of operating systems that open a URL in the browser.
var openers = map[string][]string{"darwin": {"open"}, "windows": {"rundll32", "url.dll,FileProtocolHandler"}}

// Browse opens a URL in the browser of the person.
func Browse(ctx context.Context, url string) error {
	command := openers[runtime.GOOS]
	if command == nil {
		command = []string{"xdg-open"}
	}
	opener := exec.CommandContext(ctx, command[0], append(command[1:], url)...) //nolint:gosec // the URL is that of a forwarded port
	if err := opener.Start(); err != nil {
		return err
	}
	go func() { _ = opener.Wait() }() // some openers run as long as the browser does
	return nil
}
