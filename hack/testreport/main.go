// The test report reads what go test -json prints and writes for people: a line per package, the output of what failed, the slowest
// packages and tests, what failed, and as its last line how many tests passed, failed and were skipped. It exits with 1 if any failed.
//
//	go test -json ./... | go run ./hack/testreport -logs bin/test
//	go test -json ./... | go run ./hack/testreport -left-out "test/e2e: containers need root"
//
// What is shown is bounded: 200 lines and 20,000 characters of a failed test, and 100,000 characters in all. The output of each package
// is in the folder of logs, up to 64 MB.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	logs := flag.String("logs", "bin/test", "folder for the whole output of each package; it is emptied first")
	left := flag.String("left-out", "", "`PACKAGE: REASON`: count the skipped tests of a package apart, and print why")
	flag.Parse()
	var leftOut leftOut
	leftOut.pkg, leftOut.reason, _ = strings.Cut(*left, ": ")
	failed, err := run(os.Stdin, os.Stdout, *logs, leftOut)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, logs string, leftOut leftOut) (failed bool, err error) {
	if err := emptyLogs(logs); err != nil {
		return false, err
	}
	r := newReport(out, logs, leftOut)
	reader := bufio.NewReader(in)
	for {
		line, err := reader.ReadBytes('\n')
		if len(line) > 0 {
			if err := r.add(line); err != nil {
				return false, err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false, err
		}
	}
	return r.finish(), r.err
}

// emptyLogs removes the logs of the last run, and nothing else that may be in the folder.
func emptyLogs(folder string) error {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(folder, "*.log"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}
