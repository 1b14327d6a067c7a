// Package programs builds the programs of this module for tests, as make build does: so the packages that were compiled for one are
// used for all, also while the tests themselves are built with the race detector.
package programs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const module = "github.com/mandrill-operator/mandrill-operator"

// Build builds programs, by their names in cmd, into a folder.
func Build(folder string, names ...string) error {
	args := []string{"build", "-trimpath", "-buildvcs=false", "-tags=grpcnotrace", "-ldflags=-s -w", "-o", folder + string(filepath.Separator)}
	for _, name := range names {
		args = append(args, module+"/cmd/"+name)
	}
	command := exec.CommandContext(context.Background(), "go", args...) //nolint:gosec // of tests; it is bounded by them
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("building %v: %w\n%s", names, err, output)
	}
	return nil
}
