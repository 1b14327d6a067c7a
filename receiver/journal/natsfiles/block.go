package natsfiles

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/minio/highwayhash"
)

// A block is a sequence of records. All integers are little endian.
//
//	length    4  of the whole record; bit 31: it has headers
//	sequence  8  bit 63: the message is erased; bit 62: a tombstone, the message of this sequence elsewhere is deleted
//	time      8  in nanoseconds
//	subject   2  its length
//	          n  the subject
//	headers   4  their length, only with bit 31 of length
//	          n  the headers and the data
//	checksum  8  HighwayHash-64 of sequence, time, subject, headers and data. The lengths are not covered.
//
// The key of the hash is the SHA-256 of "STREAM-BLOCK", and for meta.sum, which is of meta.inf in hex, that of "STREAM".
const (
	recordHeader    = 4 + 8 + 8 + 2
	minRecord       = recordHeader + highwayhash.Size64
	maxRecord       = 32 << 20
	headersBit      = 1 << 31
	erasedBit       = 1 << 63
	tombstoneBit    = 1 << 62
	sequenceCeiling = 1 << 48 // no stream reaches it
)

// A record that is searched for between other bytes must be from this time.
var (
	earliest = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
)

// hashFunc is the server's hash of the concatenation of parts.
type hashFunc func(parts ...[]byte) []byte

// newHash returns the hash that the server uses for what has this name.
func newHash(name string) hashFunc {
	key := sha256.Sum256([]byte(name))
	hash, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		panic(err) // the key has the right length
	}
	return func(parts ...[]byte) []byte {
		hash.Reset()
		for _, part := range parts {
			_, _ = hash.Write(part)
		}
		return hash.Sum(nil)
	}
}

// byteRange is a range of offsets in a block.
type byteRange struct{ from, to int }

// findDamage returns the ranges of a block that are not intact records, and the number of those that are.
func findDamage(hash hashFunc, data []byte) (ranges []byteRange, intact int) {
	for at := 0; at < len(data); {
		if length := intactLength(hash, data[at:]); length > 0 {
			intact++
			at += length
			continue
		}
		next := nextRecord(hash, data, at)
		ranges = append(ranges, byteRange{at, next})
		at = next
	}
	return ranges, intact
}

// nextRecord returns the offset of the record after a damaged one: where the damaged one says that it ends, if the next
// message is there, else the first offset with an intact record.
func nextRecord(hash hashFunc, data []byte, at int) int {
	if length := announcedLength(data[at:]); length > 0 {
		next := at + length
		if intactLength(hash, data[next:]) > 0 && sequenceOf(data[next:]) == sequenceOf(data[at:])+1 {
			return next
		}
	}
	for next := at + minRecord; next < len(data); next++ {
		if plausible(data[next:]) && intactLength(hash, data[next:]) > 0 {
			return next
		}
	}
	return len(data)
}

func sequenceOf(data []byte) uint64 { return binary.LittleEndian.Uint64(data[4:]) }

// announcedLength is the length that a record says it has, 0 if that is impossible.
func announcedLength(data []byte) int {
	if len(data) < minRecord {
		return 0
	}
	field := binary.LittleEndian.Uint32(data)
	length := int(field &^ headersBit)
	least := minRecord + int(binary.LittleEndian.Uint16(data[20:]))
	if field&headersBit != 0 {
		least += 4
	}
	if length < least || length > min(len(data), maxRecord) {
		return 0
	}
	return length
}

// plausible reports whether a record may begin here. It rules out most offsets without computing a hash.
func plausible(data []byte) bool {
	if announcedLength(data) == 0 {
		return false
	}
	at := int64(binary.LittleEndian.Uint64(data[12:])) //nolint:gosec // checked below
	return sequenceOf(data)&^(erasedBit|tombstoneBit) < sequenceCeiling && (at == 0 || at > earliest && at < latest)
}

// intactLength is the length of the record that begins here, 0 if there is none or it is damaged.
func intactLength(hash hashFunc, data []byte) int {
	length := announcedLength(data)
	if length == 0 {
		return 0
	}
	subject := recordHeader + int(binary.LittleEndian.Uint16(data[20:]))
	rest, sum := subject, length-highwayhash.Size64
	if binary.LittleEndian.Uint32(data)&headersBit != 0 {
		rest += 4 // the length of the headers is not hashed
		headers := int(binary.LittleEndian.Uint32(data[subject:]))
		if headers > sum-rest || !bytes.HasSuffix(data[rest:rest+headers], []byte("\r\n\r\n")) {
			return 0
		}
	}
	if !bytes.Equal(data[sum:length], hash(data[4:20], data[recordHeader:subject], data[rest:sum])) {
		return 0
	}
	return length
}

// recordsIn returns how many records a damaged range seems to have: as many as follow each other by their own account, and at
// least one. Damage seldom leaves more than one in a range, while all intact records of another layout may follow each other.
func recordsIn(data []byte, damage byteRange) (count int) {
	for at := damage.from; at < damage.to; count++ {
		length := announcedLength(data[at:damage.to])
		if length == 0 {
			break
		}
		at += length
	}
	return max(count, 1)
}

// incomplete reports whether the rest of a block is a record whose write was interrupted: it says that it is longer than
// the block, or the file system has allocated the block without writing it.
func incomplete(rest []byte) bool {
	if len(rest) < minRecord || int(binary.LittleEndian.Uint32(rest)&^headersBit) > len(rest) {
		return true
	}
	return !slices.ContainsFunc(rest, func(b byte) bool { return b != 0 })
}

// erasedRecord is an erased record that stands for no particular message.
func erasedRecord(hash hashFunc, length int) []byte {
	data := make([]byte, length)
	binary.LittleEndian.PutUint32(data, uint32(length)) //nolint:gosec // a block has some megabytes
	binary.LittleEndian.PutUint64(data[4:], erasedBit)
	sum := length - highwayhash.Size64
	copy(data[sum:], hash(data[4:20], data[recordHeader:sum]))
	return data
}
