package natsfiles

import (
	"os"
	"path/filepath"
	"testing"
)

// A stream's directory is found by the known layout; with another layout all directories are synced.
func TestDirs(t *testing.T) {
	t.Parallel()
	storeDir := filepath.Join(t.TempDir(), "nats")
	blocks := filepath.Join(pathOf(storeDir, "a"), blocksDir)
	if err := os.MkdirAll(blocks, 0o700); err != nil {
		t.Fatal(err)
	}
	known, unknown := NewDirs(storeDir, knownVersion), NewDirs(storeDir, "2.99.0")
	for _, dirs := range []*Dirs{known, unknown} {
		if err := dirs.SyncAll(); err != nil {
			t.Fatal(err)
		}
	}
	for _, block := range []string{"1.blk", "2.blk"} {
		if err := os.WriteFile(filepath.Join(blocks, block), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, dirs := range []*Dirs{known, unknown} {
			if err := dirs.Sync("a"); err != nil {
				t.Error(err)
			}
		}
	}
	if last := known.streams["a"].lastBlock; last != 2 {
		t.Errorf("the last block is %d, want 2", last)
	}
	if err := known.Sync("b"); err == nil {
		t.Error("a stream without a directory was synced")
	}
	if err := unknown.Sync("b"); err != nil {
		t.Error(err)
	}
}
