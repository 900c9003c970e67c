package eventclient

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"agentmeter/schemas"
)

// Batch is a run of events as JSON lines, ready to be sent. The zero value is
// an empty batch; Reset makes it one again and keeps its memory.
type Batch struct {
	body []byte
	ends []int // ends[i] is where item i's line ends in body, line feed included
}

// AddLine appends one item, a line of JSON without its line feed. It must not
// be blank or contain a line feed: the server would count the items
// differently.
func (b *Batch) AddLine(line []byte) {
	b.body = append(b.body, line...)
	b.body = append(b.body, '\n')
	b.ends = append(b.ends, len(b.body))
}

// AddEvent appends one event.
func (b *Batch) AddEvent(e *schemas.Event) {
	b.body = append(AppendEvent(b.body, e), '\n')
	b.ends = append(b.ends, len(b.body))
}

// Len is the number of items.
func (b *Batch) Len() int { return len(b.ends) }

// Bytes is the size of all items, line feeds included.
func (b *Batch) Bytes() int { return len(b.body) }

// Item returns the line of item i without its line feed. It is valid until
// Reset.
func (b *Batch) Item(i int) []byte {
	return b.body[b.start(i) : b.ends[i]-1 : b.ends[i]-1]
}

// Reset empties the batch.
func (b *Batch) Reset() { b.body, b.ends = b.body[:0], b.ends[:0] }

func (b *Batch) start(i int) int {
	if i == 0 {
		return 0
	}
	return b.ends[i-1]
}

// lines is the body of the items [from, to).
func (b *Batch) lines(from, to int) []byte {
	if from >= to {
		return nil
	}
	return b.body[b.start(from):b.ends[to-1]]
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

// retryAfter reads a Retry-After header: seconds or an HTTP date. Zero means
// that there is none that makes sense.
func retryAfter(header string, now time.Time) time.Duration {
	if header == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := time.Parse(time.RFC1123, header); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
