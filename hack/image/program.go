package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const megabyte = 1_000_000

// program is what an image is made for. The limit is of its compressed size, for one platform.
type program struct {
	name, description string
	limit             int64
}

var programs = []program{
	{"operator", "Keeps Mandrill's webhooks in agreement with MandrillWebhook objects", 20 * megabyte},
	{"receiver", "Turns Mandrill's signed batches into CloudEvents", 25 * megabyte},
	{"mandrill-emulator", "An emulated Mandrill, for tests", 20 * megabyte},
	{"kubectl-mandrill", "Shows what MandrillWebhook objects do, and what is wrong", 20 * megabyte},
}

// machines are the names that ELF files have for Go's architectures.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// read returns a program for an architecture. It refuses one that would not start in an image without libraries.
func (p program) read(binaries, arch string) ([]byte, error) {
	path := filepath.Join(binaries, "linux_"+arch, p.name)
	data, err := os.ReadFile(path) //nolint:gosec // the builder's file
	if err != nil {
		return nil, err
	}
	if err := checkStatic(data, arch); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

func checkStatic(data []byte, arch string) error {
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("it is not a program for Linux: %w", err)
	}
	machine, ok := machines[arch]
	if !ok {
		return fmt.Errorf("the architecture %q is not supported", arch)
	}
	if file.Machine != machine {
		return fmt.Errorf("it is for %s, not for %s", file.Machine, machine)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			return errors.New("it needs libraries: build it with CGO_ENABLED=0")
		}
	}
	return nil
}
