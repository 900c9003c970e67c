package schemas

import (
	"fmt"
	"strings"
)

// Codes of records of the events topic that are invalid, beside those of a
// [FieldError]: in the ledger's detail and in dead letters, so they never change.
const (
	// CodeUndecodable is of what is no event.
	CodeUndecodable = "undecodable"
	// CodeWrongPartition is of an event in a partition that its key does not ask for.
	CodeWrongPartition = "wrong_partition"
	// CodePayloadConflict is of an id that was recorded with another payload before.
	CodePayloadConflict = "payload_conflict"
)

const truncated = "truncated "

// TruncatedDetail is the detail of a dead letter that holds only the first bytes
// of its record.
func TruncatedDetail(held, of int) string {
	return fmt.Sprintf(truncated+"to %d of %d bytes", held, of)
}

// Truncated reports whether it is the detail of such a letter.
func Truncated(detail string) bool { return strings.HasPrefix(detail, truncated) }
