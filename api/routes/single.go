package routes

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	goyaml "go.yaml.in/yaml/v2"
)

// checkSingle refuses what follows the first document of a file: the decoder ignores it, and with it the routes that somebody
// has put there.
func checkSingle(data []byte) error {
	if bytes.HasPrefix(data, []byte("routes:")) && !bytes.Contains(data, []byte("\n---")) && !bytes.Contains(data, []byte("\n...")) {
		return nil // a block of YAML ends with the file, as in the operator's Secrets
	}
	decoder := goyaml.NewDecoder(bytes.NewReader(data))
	for first := true; ; first = false {
		var document any
		switch err := decoder.Decode(&document); {
		case errors.Is(err, io.EOF):
			return nil
		case !first && (err != nil || document != nil):
			if line := nextDocument(data); line > 0 {
				return fmt.Errorf("a second YAML document begins at line %d: put all routes into one list", line)
			}
			return errors.New("something follows the YAML document: put all routes into one list")
		case err != nil:
			return fmt.Errorf("decoding routes: %s", withoutValues(err.Error()))
		}
	}
}

// nextDocument returns the number of the line that separates the first document from the next, or 0.
func nextDocument(data []byte) int {
	begun := false
	number := 0
	for line := range bytes.Lines(data) {
		number++
		marker := isMarker(line, "---") || isMarker(line, "...")
		if marker && begun {
			return number
		}
		text := bytes.TrimSpace(line)
		begun = begun || isMarker(line, "---") || len(text) > 0 && text[0] != '#' && text[0] != '%'
	}
	return 0
}

// isMarker reports whether a line begins with a marker of YAML, which stands alone or before a space.
func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(bytes.TrimSpace(rest)) == 0 || rest[0] == ' ' || rest[0] == '\t')
}
