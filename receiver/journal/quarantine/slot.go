package quarantine

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strconv"
)

// Key names a batch: its sequence in the stream of batches, or in that of remainders.
type Key struct {
	Remainder bool
	Seq       uint64
}

// state is what a slot says of a batch. The next letters say the same of a batch that was in a section at more ends.
type state byte

const (
	processing state = 'P' // it is in a section, maybe with others
	suspected  state = 'S' // it was in one at an end, and is in none now
	alone      state = 'A' // it was in one at an end, and is in a section, alone
)

// A slot is a line: the state, the stream, the sequence and a checksum. It is written at once, as it lies in one page.
const slotSize = 32

var emptySlot = append(bytes.Repeat([]byte{' '}, slotSize-1), '\n')

// encode returns the slot of a batch that was in a section at a number of ends.
func encode(key Key, is state, ends int) []byte {
	if is != processing && ends > 1 {
		is += state(min(ends, InSharedBuffer) - 1)
	}
	kind := byte('b')
	if key.Remainder {
		kind = 'r'
	}
	data := fmt.Appendf(make([]byte, 0, slotSize), "%c%c%020d", is, kind, key.Seq)
	return fmt.Appendf(data, " %08x\n", crc32.ChecksumIEEE(data))
}

type slotContent struct {
	key   Key
	state state
	ends  int // at which it was in a section, without the last one
}

// decode returns the slots that are in use, by number. What is not a slot is left out.
func decode(data []byte) map[int]slotContent {
	found := map[int]slotContent{}
	for slot := 0; (slot+1)*slotSize <= len(data); slot++ {
		line := data[slot*slotSize : (slot+1)*slotSize]
		seq, err := strconv.ParseUint(string(line[2:22]), 10, 64)
		key := Key{Remainder: line[1] == 'r', Seq: seq}
		if err != nil {
			continue
		}
		for _, content := range []slotContent{{key, processing, 0}, later(key, suspected, line[0]), later(key, alone, line[0])} {
			if bytes.Equal(line, encode(key, content.state, content.ends)) {
				found[slot] = content
			}
		}
	}
	return found
}

// later returns what a letter says if it is that of a state, or one of the next letters.
func later(key Key, is state, letter byte) slotContent {
	return slotContent{key, is, min(max(int(letter)-int(is)+1, 1), InSharedBuffer)}
}
