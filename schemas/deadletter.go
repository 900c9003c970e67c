package schemas

import (
	"fmt"
	"slices"
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

// DeadLetterCodes are all codes that a dead letter may have, in alphabetical order.
func DeadLetterCodes() []string {
	codes := []string{
		CodeUndecodable, CodeWrongPartition, CodePayloadConflict,
		"occurred_at_missing", "occurred_at_out_of_range",
		"credits_negative", "messages_negative", "messages_out_of_range",
	}
	for _, field := range [...]string{"id", "workspace_id", "agent_id", "channel", "reason"} {
		codes = append(codes, field+"_missing", field+"_invalid")
	}
	for _, field := range [...]string{"conversation_id", "model", "event_id"} {
		codes = append(codes, field+"_invalid")
	}
	slices.Sort(codes)
	return codes
}
