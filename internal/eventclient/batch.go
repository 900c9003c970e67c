package eventclient

import (
	"encoding/json"
	"slices"
	"strconv"

	"agentmeter/client"
	"agentmeter/schemas"
)

// Batch is a run of events as JSON lines, ready to be sent. The zero value is
// an empty batch; Reset makes it one again and keeps its memory.
type Batch struct{ client.Batch }

// AddEvent appends one event.
func (b *Batch) AddEvent(e *schemas.Event) {
	b.AddFunc(func(dst []byte) []byte { return AppendEvent(dst, e) })
}

const occurredAtLayout = "2006-01-02T15:04:05.999999Z07:00"

// AppendEvent appends the event as POST /v1/events takes it, on one line
// without a line feed. Members that have their default are left out. An
// adjustment has another operation and must not be given.
func AppendEvent(dst []byte, e *schemas.Event) []byte {
	dst = appendMember(append(dst, '{'), "id", e.ID)
	dst = appendMember(append(dst, ','), "workspace_id", string(e.Workspace))
	dst = appendMember(append(dst, ','), "agent_id", string(e.Agent))
	if e.Conversation != "" {
		dst = appendMember(append(dst, ','), "conversation_id", e.Conversation)
	}
	dst = append(dst, `,"occurred_at":"`...)
	dst = e.OccurredAt.UTC().AppendFormat(dst, occurredAtLayout)
	dst = append(dst, '"')
	dst = appendMember(append(dst, ','), "channel", e.Channel)
	if e.Model != "" {
		dst = appendMember(append(dst, ','), "model", e.Model)
	}
	dst = append(dst, `,"credits":"`...)
	dst = e.Credits.Append(dst)
	dst = append(dst, '"')
	if e.Messages != 1 {
		dst = append(dst, `,"messages":`...)
		dst = strconv.AppendInt(dst, e.Messages, 10)
	}
	return append(dst, '}')
}

func appendMember(dst []byte, name, value string) []byte {
	dst = append(dst, '"')
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	return AppendString(dst, value)
}

// AppendString appends text, which must be valid UTF-8, as a JSON string.
func AppendString[T string | []byte](dst []byte, text T) []byte {
	for i := range len(text) {
		if c := text[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			quoted, err := json.Marshal(string(text))
			if err != nil {
				panic("eventclient: marshal string: " + err.Error()) // encoding/json has no failing path for strings
			}
			return append(dst, quoted...)
		}
	}
	dst = slices.Grow(dst, len(text)+2)
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"')
}
