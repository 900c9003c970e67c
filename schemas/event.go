package schemas

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// WorkspaceID names a tenant.
type WorkspaceID string

// AllWorkspaces stands for every workspace in tokens, and is the id of none.
const AllWorkspaces WorkspaceID = "*"

// AgentID names what answers messages. It is unique within its workspace.
type AgentID string

// ChannelPlayground marks test messages: recorded, never counted.
const ChannelPlayground = "playground"

// Limits of an event's fields.
const (
	MaxIDRunes     = 128
	MaxTextRunes   = 256
	MaxReasonRunes = 1024
	MaxMessages    = 1_000_000_000
)

// The instants that an event may carry: what ClickHouse's DateTime holds,
// which the rollups' buckets are. They begin just after the first, which is how
// records say "absent", and end before the last.
var (
	MinOccurredAt = time.Unix(0, 0).UTC()
	MaxOccurredAt = time.Date(2106, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Event is one answered message, or one adjustment, with what it cost.
type Event struct {
	ID           string // unique within the workspace, 1–128 characters
	Workspace    WorkspaceID
	Agent        AgentID
	Conversation string    // optional
	OccurredAt   time.Time // UTC, whole microseconds
	Channel      string    // embed, api, …, playground; empty on adjustments
	Model        string    // optional
	Credits      Credits   // negative only on adjustments
	Messages     int64     // negative only on adjustments
	Adjustment   *Adjustment
}

// Adjustment makes an event a signed correction of the figures. Nothing that
// was counted is ever edited in place.
type Adjustment struct {
	Reason  string // in words, required
	EventID string // what it corrects, optional
}

// FieldError says what is wrong with one field and how to put it right. Code
// is stable and meant for programs, Detail for people.
type FieldError struct {
	Field  string
	Code   string
	Detail string
}

func (e FieldError) Error() string { return e.Field + ": " + e.Detail }

// Validate returns everything that is wrong with the event, in the order of
// its fields; nil means that every later stage accepts it.
func (e *Event) Validate() []FieldError {
	var faults []FieldError
	fault := func(field, code, format string, args ...any) {
		faults = append(faults, FieldError{Field: field, Code: code, Detail: fmt.Sprintf(format, args...)})
	}
	text := func(field, value string, required bool, maxRunes int) {
		if required && value == "" {
			fault(field, field+"_missing", "is required; give it 1 to %d characters", maxRunes)
			return
		}
		if problem := TextProblem(value, maxRunes); problem != "" {
			fault(field, field+"_invalid", "%s", problem)
		}
	}
	text("id", e.ID, true, MaxIDRunes)
	if problem := ValidateWorkspaceID("workspace_id", string(e.Workspace)); problem != nil {
		faults = append(faults, *problem)
	}
	text("agent_id", string(e.Agent), true, MaxIDRunes)
	text("conversation_id", e.Conversation, false, MaxTextRunes)
	switch {
	case e.OccurredAt.IsZero():
		fault("occurred_at", "occurred_at_missing", "is required; give an RFC 3339 time such as 2026-11-24T09:31:47.123456Z")
	case !e.OccurredAt.After(MinOccurredAt) || !e.OccurredAt.Before(MaxOccurredAt):
		fault("occurred_at", "occurred_at_out_of_range", "lies outside %d to %d", MinOccurredAt.Year(), MaxOccurredAt.Year()-1)
	}
	text("channel", e.Channel, e.Adjustment == nil, MaxTextRunes)
	text("model", e.Model, false, MaxTextRunes)
	if e.Messages > MaxMessages || e.Messages < -MaxMessages {
		fault("messages", "messages_out_of_range", "is beyond %d", MaxMessages)
	}
	if e.Adjustment == nil {
		if e.Credits < 0 {
			fault("credits", "credits_negative", "is negative; corrections go to POST /v1/adjustments")
		}
		if e.Messages < 0 {
			fault("messages", "messages_negative", "is negative; corrections go to POST /v1/adjustments")
		}
		return faults
	}
	text("reason", e.Adjustment.Reason, true, MaxReasonRunes)
	text("event_id", e.Adjustment.EventID, false, MaxIDRunes)
	return faults
}

// plainText reports that a text is of printable ASCII, short enough, and neither
// begins nor ends with a space.
func plainText(text string, maxRunes int) bool {
	n := len(text)
	if n == 0 {
		return true
	}
	if n > maxRunes || text[0] == ' ' || text[n-1] == ' ' {
		return false
	}
	if n < 8 {
		for i := range n {
			if text[i] < 0x20 || text[i] >= 0x7f {
				return false
			}
		}
		return true
	}
	for ; n > 8; n -= 8 {
		if !printable8(text[n-8:]) {
			return false
		}
	}
	return printable8(text) // some of it for the second time
}

// printable8 reports that the first eight bytes are of printable ASCII.
func printable8(text string) bool {
	const each = 0x0101010101010101
	_ = text[7]
	x := uint64(text[0]) | uint64(text[1])<<8 | uint64(text[2])<<16 | uint64(text[3])<<24 |
		uint64(text[4])<<32 | uint64(text[5])<<40 | uint64(text[6])<<48 | uint64(text[7])<<56
	// A high bit in any byte: of x itself, of x+1 for 0x7f, and of x-0x20 for
	// what is less. Borrows and carries only come from bytes that are caught.
	return (x|(x+each)|(x-each*0x20))&(each*0x80) == 0
}

// ValidateID says what is wrong with an identifier in the field of that name,
// or nil.
func ValidateID(field, value string) *FieldError {
	if value == "" {
		return &FieldError{Field: field, Code: field + "_missing", Detail: fmt.Sprintf("is required; give it 1 to %d characters", MaxIDRunes)}
	}
	if problem := TextProblem(value, MaxIDRunes); problem != "" {
		return &FieldError{Field: field, Code: field + "_invalid", Detail: problem}
	}
	return nil
}

// ValidateWorkspaceID is ValidateID for the id of one workspace.
func ValidateWorkspaceID(field, value string) *FieldError {
	if value == string(AllWorkspaces) {
		return &FieldError{Field: field, Code: field + "_invalid", Detail: `"*" stands for every workspace in tokens and cannot be the id of one`}
	}
	return ValidateID(field, value)
}

// TextProblem describes why value cannot be stored as it stands, or "".
func TextProblem(value string, maxRunes int) string {
	if plainText(value, maxRunes) {
		return ""
	}
	return anyTextProblem(value, maxRunes)
}

// anyTextProblem is TextProblem without a short way for what is plain.
func anyTextProblem(value string, maxRunes int) string {
	switch n := utf8.RuneCountInString(value); {
	case !utf8.ValidString(value):
		return "is not valid UTF-8"
	case n > maxRunes:
		return fmt.Sprintf("has %d characters; at most %d are allowed", n, maxRunes)
	case strings.ContainsFunc(value, unicode.IsControl):
		return "contains a control character; remove it"
	case value != strings.TrimSpace(value):
		return "begins or ends with white space; remove it"
	}
	return ""
}

// Playground reports whether the event is a test that never counts.
func (e *Event) Playground() bool { return e.Adjustment == nil && e.Channel == ChannelPlayground }

// Outcome is the one thing that became of a Kafka offset. The numbers are
// stored in the ledger and never change.
type Outcome uint8

// The outcomes.
const (
	OutcomeCounted    Outcome = 1 // a live message, in the rollups
	OutcomePlayground Outcome = 2 // a test, recorded and never counted
	OutcomeAdjustment Outcome = 3 // a signed correction, in the rollups
	OutcomeDuplicate  Outcome = 4 // another copy of a known id
	OutcomeInvalid    Outcome = 5 // could not be counted; its bytes are in the dead-letter topic
	OutcomeGap        Outcome = 6 // an offset that Kafka does not deliver
	OutcomeErased     Outcome = 7 // blanked when its workspace was erased
)

var outcomeNames = [...]string{
	OutcomeCounted: "counted", OutcomePlayground: "playground", OutcomeAdjustment: "adjustment",
	OutcomeDuplicate: "duplicate", OutcomeInvalid: "invalid", OutcomeGap: "gap", OutcomeErased: "erased",
}

// Outcomes lists them all.
var Outcomes = [...]Outcome{
	OutcomeCounted, OutcomePlayground, OutcomeAdjustment, OutcomeDuplicate, OutcomeInvalid, OutcomeGap, OutcomeErased,
}

// String is the outcome's name in the ledger.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) && outcomeNames[o] != "" {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}
