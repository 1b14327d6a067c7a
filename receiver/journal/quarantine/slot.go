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
		is, ends := parseLetter(state(line[0]))
		if err != nil || !bytes.Equal(line, encode(key, is, ends)) {
			continue
		}
		found[slot] = slotContent{key, is, ends}
	}
	return found
}

// parseLetter returns the state that a letter stands for, and the ends. What is no letter of a state fails the comparison with its slot.
func parseLetter(letter state) (is state, ends int) {
	for _, is := range []state{suspected, alone} {
		if letter >= is && letter < is+InSharedBuffer {
			return is, int(letter-is) + 1
		}
	}
	return processing, 0
}
