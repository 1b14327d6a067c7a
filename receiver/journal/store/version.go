package store

import "fmt"

// OlderThan compares major and minor versions. A version that is no number is not older.
func OlderThan(version, than string) bool {
	var major, minor, wantMajor, wantMinor int
	_, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	_, wantErr := fmt.Sscanf(than, "%d.%d", &wantMajor, &wantMinor)
	return err == nil && wantErr == nil && (major < wantMajor || major == wantMajor && minor < wantMinor)
}
