package mandrill

import (
	"errors"
	"fmt"
)

// MaxBatchEvents is the most events that Mandrill puts into one request.
const MaxBatchEvents = 1000

// MaxElements is the most elements that [SplitBatch] accepts: far more than Mandrill sends, and few enough that what is made
// of each of them fits into memory. A batch of one megabyte could hold half a million.
const MaxElements = 10 * MaxBatchEvents

// ErrTooManyEvents means that the batch has more than [MaxElements] elements.
var ErrTooManyEvents = fmt.Errorf("the batch has more than %d events, and Mandrill sends at most %d", MaxElements, MaxBatchEvents)

// ErrNotArray means that the batch is not a JSON array.
var ErrNotArray = errors.New("batch is not a JSON array")

// EmptyBatch reports whether a batch is an array without elements. It reads only the two ends of the batch.
func EmptyBatch(batch []byte) bool {
	batch = trimSpace(batch)
	return len(batch) >= 2 && batch[0] == '[' && skipSpace(batch, 1) == len(batch)-1 && batch[len(batch)-1] == ']'
}

// SplitBatch returns the elements of a batch, which is a JSON array, without the white space around them. The slices
// alias batch. It only finds where elements begin and end, so that an unusual or invalid element does not affect the
// others; [ParseEvent] examines each. A truncated array, and one with more than
// [MaxElements] elements, is an error.
func SplitBatch(batch []byte) ([][]byte, error) {
	i := skipSpace(batch, 0)
	if i == len(batch) || batch[i] != '[' {
		return nil, ErrNotArray
	}
	i = skipSpace(batch, i+1)
	events := make([][]byte, 0, min(len(batch)/2, MaxBatchEvents))
	for i < len(batch) {
		end, err := skipElement(batch, i)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotArray, err)
		}
		element := trimSpace(batch[i:end])
		last := batch[end] == ']'
		if len(element) == 0 && (!last || len(events) > 0) {
			return nil, fmt.Errorf("%w: it has an empty element", ErrNotArray)
		}
		if len(events) == MaxElements {
			return nil, ErrTooManyEvents
		}
		if len(element) > 0 {
			events = append(events, element)
		}
		i = skipSpace(batch, end+1)
		if last {
			if i != len(batch) {
				return nil, fmt.Errorf("%w: something follows it", ErrNotArray)
			}
			return events, nil
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrNotArray, errTruncated)
}

func trimSpace(data []byte) []byte {
	end := len(data)
	for end > 0 && skipSpace(data[:end], end-1) == end {
		end--
	}
	return data[skipSpace(data[:end], 0):end:end]
}
