package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

// profileTime is how long the processor time of the receiver is profiled.
const profileTime = 5 * time.Second

// profile writes profiles of the receiver under the load of a case: of its processor time, and of the allocations since its start.
func (s *stack) profile(c benchCase) error {
	for _, of := range subjects {
		if of.role != "" || !selected(s.options.subjects, of.name) {
			continue
		}
		file := filepath.Join(s.options.profile, of.name+"-"+c.name())
		profiled := make(chan error, 1)
		go func() {
			profiled <- s.fetch(fmt.Sprintf("profile?seconds=%d", int(profileTime.Seconds())), file+"-cpu.pprof")
		}()
		var err error
		for err == nil && len(profiled) == 0 { // until it is written
			_, err = s.measure(c, of)
		}
		if err := errors.Join(err, <-profiled, s.fetch("allocs", file+"-allocs.pprof")); err != nil {
			return fmt.Errorf("profiling %s: %w", c.name(), err)
		}
		harness.Logf("wrote %s-cpu.pprof and %s-allocs.pprof", file, file)
	}
	return nil
}

// fetch writes a profile of the receiver to a file.
func (s *stack) fetch(name, file string) error {
	request, err := http.NewRequestWithContext(s.ctx, http.MethodGet, "http://"+s.receiver.pprofs+"/debug/pprof/"+name, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(response.Body)
	_ = response.Body.Close() // everything was read
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("got status %d", response.StatusCode)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.options.profile, 0o750); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}
