package schemas

import "time"

// Tags of the fields of a record, as they stand on the wire: the field's number
// and its wire type in one byte. A varint's is 0.
const (
	tagWorkspace    = 1<<3 | 2
	tagID           = 2<<3 | 2
	tagIDUUID       = 3<<3 | 2
	tagAgent        = 4<<3 | 2
	tagConversation = 5<<3 | 2
	tagOccurredAt   = 6<<3 | 1
	tagChannel      = 7<<3 | 2
	tagModel        = 8<<3 | 2
	tagCredits      = 9 << 3
	tagMessages     = 10 << 3
)

// DecodeCanonical reads a record into e where it is, byte for byte, what
// EncodeEvent would make of e, and reports whether it is. It neither validates
// e nor knows every canonical record: adjustments and long texts are left to
// Decode. What it takes, it takes in one pass, and whoever wants the event's
// record has it already. Where it reports false, e is half written.
//
// The strings of e share value's memory; see EventDecoder for the id's.
func (d *EventDecoder) DecodeCanonical(value []byte, e *Event) bool {
	*e = Event{Messages: 1}
	r := canonicalReader{rest: value}
	e.Workspace = WorkspaceID(r.text(tagWorkspace))
	e.ID = r.text(tagID)
	if raw := r.text(tagIDUUID); raw != "" {
		if len(raw) != 16 || e.ID != "" {
			return false
		}
		e.ID = d.uuidText([16]byte([]byte(raw)))
	} else if _, packable := packUUID(e.ID); packable {
		return false
	}
	e.Agent = AgentID(r.text(tagAgent))
	e.Conversation = r.text(tagConversation)
	micros, ok := r.fixed(tagOccurredAt)
	if !ok {
		return false
	}
	e.OccurredAt = time.UnixMicro(micros).UTC()
	e.Channel = r.text(tagChannel)
	e.Model = r.text(tagModel)
	if micro, ok := r.signed(tagCredits); ok {
		e.Credits = Credits(micro)
		r.broken = r.broken || micro == 0 // is left out
	}
	if messages, ok := r.signed(tagMessages); ok {
		e.Messages = messages
		r.broken = r.broken || messages == 1 // is left out
	}
	return !r.broken && len(r.rest) == 0
}

// canonicalReader takes fields off a message, each where it is the next.
type canonicalReader struct {
	rest   []byte
	broken bool // what stands there is not written like this
}

// text is a text or bytes of 1 to 127 bytes; "" where the field is not the next.
func (r *canonicalReader) text(tag byte) string {
	const longest = 0x7f // whose length is one byte
	if len(r.rest) < 2 || r.rest[0] != tag {
		return ""
	}
	n, rest := int(r.rest[1]), r.rest[2:]
	if n == 0 || n > longest || n > len(rest) {
		r.broken = true
		return ""
	}
	r.rest = rest[n:]
	return unsafeString(rest[:n])
}

// fixed is an sfixed64 that is not zero.
func (r *canonicalReader) fixed(tag byte) (value int64, ok bool) {
	const size = 9
	if len(r.rest) < size || r.rest[0] != tag {
		return 0, false
	}
	for i := size - 1; i > 0; i-- {
		value = value<<8 | int64(r.rest[i])
	}
	r.rest = r.rest[size:]
	r.broken = r.broken || value == 0
	return value, true
}

// signed is an sint64 in as few bytes as it takes.
func (r *canonicalReader) signed(tag byte) (value int64, ok bool) {
	const longest = 10
	if len(r.rest) == 0 || r.rest[0] != tag {
		return 0, false
	}
	var zigzag uint64
	for i := 1; i < len(r.rest) && i <= longest; i++ {
		digit := r.rest[i]
		zigzag |= uint64(digit&0x7f) << (7 * (i - 1))
		if digit < 0x80 {
			r.broken = r.broken || digit == 0 && i > 1 || i == longest && digit > 1
			r.rest = r.rest[i+1:]
			return int64(zigzag>>1) ^ -int64(zigzag&1), true
		}
	}
	r.broken = true
	return 0, false
}
