package journal

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/minio/highwayhash"
)

// A record of the server has its length (the highest bit says that it has headers), its sequence number (the two highest
// bits say that it is erased, or that it tells of another one that is), a time in nanoseconds, the length of its subject, the
// subject, the length of the headers if it has some, these and the data, and a checksum of nearly all of that.
const (
	recordHeader   = 4 + 8 + 8 + 2
	recordLeast    = recordHeader + highwayhash.Size64
	recordMost     = 32 << 20
	recordHeaders  = 1 << 31
	recordErased   = 1 << 63
	recordTomb     = 1 << 62
	recordSequence = 1 << 48 // more there are not
)

// A record in the middle of other bytes must have been written between these.
var (
	earliest = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
)

// gap is what is between records that are intact.
type damagedRange struct{ from, to int }

// findGaps returns what of a file can not be read.
func findDamage(hash func(...[]byte) []byte, data []byte) (gaps []damagedRange) {
	for at := 0; at < len(data); {
		if length := recordLength(hash, data[at:]); length > 0 {
			at += length
			continue
		}
		next := nextRecord(hash, data, at)
		gaps = append(gaps, damagedRange{at, next})
		at = next
	}
	return gaps
}

// nextRecord returns where a record begins after one that is damaged: where it ends by its own account if the next message
// is there, else where the first one is that is intact.
func nextRecord(hash func(...[]byte) []byte, data []byte, at int) int {
	if length := announcedLength(data[at:]); length > 0 {
		next := at + length
		if recordLength(hash, data[next:]) > 0 && sequenceOf(data[next:]) == sequenceOf(data[at:])+1 {
			return next
		}
	}
	for next := at + recordLeast; next < len(data); next++ {
		if plausible(data[next:]) && recordLength(hash, data[next:]) > 0 {
			return next
		}
	}
	return len(data)
}

func sequenceOf(data []byte) uint64 { return binary.LittleEndian.Uint64(data[4:]) }

// announcedLength is the length of a record by its own account, 0 if that cannot be.
func announcedLength(data []byte) int {
	if len(data) < recordLeast {
		return 0
	}
	field := binary.LittleEndian.Uint32(data)
	length := int(field &^ recordHeaders)
	least := recordLeast + int(binary.LittleEndian.Uint16(data[20:]))
	if field&recordHeaders != 0 {
		least += 4
	}
	if length < least || length > min(len(data), recordMost) {
		return 0
	}
	return length
}

// plausible tells whether bytes may be a record, of which most are not.
func plausible(data []byte) bool {
	if announcedLength(data) == 0 {
		return false
	}
	at := int64(binary.LittleEndian.Uint64(data[12:])) //nolint:gosec // checked
	return sequenceOf(data)&^(recordErased|recordTomb) < recordSequence && (at == 0 || at > earliest && at < latest)
}

// recordLength is the length of a record that is intact, 0 if it is not.
func recordLength(hash func(...[]byte) []byte, data []byte) int {
	length := announcedLength(data)
	if length == 0 {
		return 0
	}
	subject := recordHeader + int(binary.LittleEndian.Uint16(data[20:]))
	rest, sum := subject, length-highwayhash.Size64
	if binary.LittleEndian.Uint32(data)&recordHeaders != 0 {
		rest += 4 // which are not part of the sum
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

// filler is a record of a message that is erased, of none in particular.
func erasedRecord(hash func(...[]byte) []byte, length int) []byte {
	data := make([]byte, length)
	binary.LittleEndian.PutUint32(data, uint32(length)) //nolint:gosec // of a file of some megabytes
	binary.LittleEndian.PutUint64(data[4:], recordErased)
	sum := length - highwayhash.Size64
	copy(data[sum:], hash(data[4:20], data[recordHeader:sum]))
	return data
}
