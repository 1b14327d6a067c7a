package keptroutes

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/durable"
)

// The first line of the file is format, the version and the checksum of what follows, with spaces in between. What follows is
// the content as JSON.
const (
	format  = "mandrill-routes"
	version = 1
	// maxFile is more than the Secrets can hold.
	maxFile = 64 << 20
)

// content is what the file says.
type content struct {
	Source    string            `json:"source"` // where the routes are from, as --routes-secret has it
	SavedAt   time.Time         `json:"savedAt"`
	Documents map[string][]byte `json:"documents"` // by the names of their Secrets
}

// read returns the content of the file. It fails if the file is damaged, of another version, or of routes from elsewhere. Its
// errors hold no secret.
func read(path, source string) (*content, error) {
	file, err := os.Open(path) //nolint:gosec // in the user's directory
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, errors.New("it is larger than routes can be")
	}
	return parse(data, source)
}

func parse(data []byte, source string) (*content, error) {
	head, body, _ := bytes.Cut(data, []byte("\n"))
	fields := strings.Split(string(head), " ")
	if fields[0] != format || len(fields) < 2 {
		return nil, errors.New("it is no file of routes")
	}
	if number, err := strconv.Atoi(fields[1]); err == nil && number > version {
		return nil, fmt.Errorf("it has the format %d of a newer receiver", number)
	}
	if len(fields) != 3 || fields[1] != strconv.Itoa(version) || fields[2] != checksum(body) {
		return nil, errors.New("it is damaged")
	}
	var parsed content
	if json.Unmarshal(body, &parsed) != nil { // the cause quotes the content
		return nil, errors.New("it is damaged")
	}
	if parsed.Source != source {
		return nil, fmt.Errorf("its routes are from %q", parsed.Source)
	}
	return &parsed, nil
}

// write replaces the file, see [durable.WriteFile].
func write(path string, saved content) error {
	body, err := json.Marshal(saved)
	if err != nil {
		return err
	}
	data := append(fmt.Appendf(nil, "%s %d %s\n", format, version, checksum(body)), body...)
	return durable.WriteFile(path, data)
}

func checksum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func equal(a, b map[string][]byte) bool { return maps.EqualFunc(a, b, bytes.Equal) }
