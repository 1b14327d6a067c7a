package harness

import (
	"os"
	"path/filepath"
	"strings"
)

// FileBytes returns the sizes of the files in a folder whose names end with a suffix.
func FileBytes(folder, suffix string) (total int64, err error) {
	err = filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, suffix) {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
