package streams

import (
	"errors"
	"strconv"
	"strings"
)

// Position is where a message is: a sequence of the stream of batches or of that of remainders.
type Position struct {
	Remainder bool
	Seq       uint64
}

func (p Position) String() string {
	kind := KindBatch
	if p.Remainder {
		kind = KindRemainder
	}
	return kind + ":" + strconv.FormatUint(p.Seq, 10)
}

// MarshalText and UnmarshalText read and write a position as String does.
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a position.
func (p *Position) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePosition(string(text))
	return err
}

// ParsePosition reads a position as String writes it.
func ParsePosition(text string) (Position, error) {
	kind, number, _ := strings.Cut(text, ":")
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil || kind != KindBatch && kind != KindRemainder {
		return Position{}, errors.New("invalid position")
	}
	return Position{kind == KindRemainder, seq}, nil
}

// Positions are several positions, as a header has them: with spaces between them.
type Positions []Position

func (p Positions) String() string {
	texts := make([]string, len(p))
	for i, position := range p {
		texts[i] = position.String()
	}
	return strings.Join(texts, " ")
}

// ParsePositions reads positions as String writes them.
func ParsePositions(text string) (Positions, error) {
	var parsed Positions
	for _, field := range strings.Fields(text) {
		position, err := ParsePosition(field)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, position)
	}
	return parsed, nil
}
