package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/mandrill-operator/mandrill-operator/receiver/keptroutes"
)

// checkBufferDir fails if this user may not write to the directory of the buffer, or to something that a buffer has left there.
// A full or read-only disk is not an error: the receiver answers 503 until it is writable.
func checkBufferDir(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = checkDirWritable(dir)
	}
	switch {
	case err == nil, errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return nil
	case errors.Is(err, fs.ErrPermission):
		path := dir
		if failed := new(fs.PathError); errors.As(err, &failed) {
			path = failed.Path
		}
		return fmt.Errorf("--buffer-dir: user %d may not write to %s: in Kubernetes set securityContext.fsGroup of the pod, elsewhere run chown -R %d on the directory",
			os.Getuid(), path, os.Getuid())
	}
	return fmt.Errorf("--buffer-dir: %w", err)
}

// bufferEntries are what the receiver writes into the directory of its buffer. Other entries, such as lost+found, are left alone.
var bufferEntries = []string{"lock", "reserve", "nats", "cluster", "damaged", "processing", "checkpoint", keptroutes.FileName}

func checkDirWritable(dir string) error {
	file, err := os.CreateTemp(dir, "write-*")
	if err != nil { // its path would be that of the file
		return &fs.PathError{Op: "write", Path: dir, Err: errors.Unwrap(err)}
	}
	_ = file.Close()
	if err := os.Remove(file.Name()); err != nil {
		return err
	}
	for _, name := range bufferEntries {
		path := filepath.Join(dir, name)
		const write = 2
		if err := syscall.Access(path, write); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &fs.PathError{Op: "write", Path: path, Err: err}
		}
	}
	return nil
}
