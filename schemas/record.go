package schemas

import (
	"bytes"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"agentmeter/schemas/usagev1"
)

// ErrRecord is the root of every error that DecodeEvent returns: the bytes are
// not the record of an acceptable event, and trying again will not help.
var ErrRecord = errors.New("not a usage event record")

// EncodeEvent appends the event's protobuf record to dst. The event must have
// passed Validate.
func EncodeEvent(dst []byte, e *Event) []byte {
	var encoder EventEncoder
	return encoder.Append(dst, e)
}

// EventEncoder encodes records one after another, reusing its scratch space.
// It is not safe for concurrent use. The zero value is ready.
type EventEncoder struct {
	record usagev1.Event
	id     [16]byte
}

// Append appends the event's protobuf record to dst, as EncodeEvent does.
func (c *EventEncoder) Append(dst []byte, e *Event) []byte {
	c.fill(e)
	size := c.record.SizeVT()
	n := len(dst)
	if cap(dst)-n < size {
		grown := make([]byte, n, n+size)
		copy(grown, dst)
		dst = grown
	}
	dst = dst[:n+size]
	if _, err := c.record.MarshalToSizedBufferVT(dst[n:]); err != nil {
		// The generated code has no failing path for this message.
		panic(fmt.Sprintf("schemas: marshal event: %v", err))
	}
	return dst
}

// fill sets every field of the record.
func (c *EventEncoder) fill(e *Event) {
	record := &c.record
	record.WorkspaceId = string(e.Workspace)
	record.Id, record.IdUuid = e.ID, nil
	if raw, ok := packUUID(e.ID); ok {
		c.id = raw
		record.Id, record.IdUuid = "", c.id[:]
	}
	record.AgentId = string(e.Agent)
	record.ConversationId = e.Conversation
	record.OccurredAtUs = e.OccurredAt.UnixMicro()
	record.Channel = e.Channel
	record.Model = e.Model
	record.CreditsMicro = int64(e.Credits)
	record.Messages, record.Adjustment = nil, nil
	usual := int64(1)
	if e.Adjustment != nil {
		usual = 0
		record.Adjustment = &usagev1.Adjustment{Reason: e.Adjustment.Reason, EventId: e.Adjustment.EventID}
	}
	if e.Messages != usual {
		record.Messages = &e.Messages
	}
}

// EventDecoder decodes records one after another, reusing its scratch space.
// It is not safe for concurrent use. The zero value is ready.
type EventDecoder struct {
	// ReuseIDs lets the text of a UUID stand where the last one's stood, for who
	// needs an event's id no longer than until the next is decoded.
	ReuseIDs bool

	record usagev1.Event
	ids    []byte // where the texts of UUIDs are written; never moved
}

// uuidText is the canonical text of a UUID that came as its bytes. Texts of
// many share an allocation.
func (d *EventDecoder) uuidText(raw [16]byte) string {
	texts := 256
	if d.ReuseIDs {
		d.ids, texts = d.ids[:0], 1
	}
	if cap(d.ids)-len(d.ids) < uuidLength {
		d.ids = make([]byte, 0, texts*uuidLength)
	}
	begin := len(d.ids)
	d.ids = appendUUID(d.ids, raw)
	return unsafeString(d.ids[begin:])
}

// unsafeString views bytes as a string without copying them. They must not be
// written to while it is in use.
func unsafeString(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // see above
}

// Decode reads one record into e and validates it. The strings of e share
// value's memory, so value must not change while e is in use. Every error
// wraps ErrRecord; one for a well-formed record of an unacceptable event also
// carries the FieldError.
func (d *EventDecoder) Decode(value []byte, e *Event) error {
	if !d.DecodeCanonical(value, e) {
		d.record.Reset()
		if err := d.record.UnmarshalVTUnsafe(value); err != nil {
			return fmt.Errorf("%w: %w", ErrRecord, err)
		}
		if err := EventFromRecord(&d.record, e); err != nil {
			return err
		}
	}
	if faults := e.Validate(); faults != nil {
		return fmt.Errorf("%w: %w", ErrRecord, faults[0])
	}
	return nil
}

// EventFromRecord turns a decoded protobuf message into e, sharing its
// strings. It checks only what Validate cannot see afterwards; callers
// validate next.
func EventFromRecord(record *usagev1.Event, e *Event) error {
	*e = Event{
		ID:           record.Id,
		Workspace:    WorkspaceID(record.WorkspaceId),
		Agent:        AgentID(record.AgentId),
		Conversation: record.ConversationId,
		OccurredAt:   time.UnixMicro(record.OccurredAtUs).UTC(),
		Channel:      record.Channel,
		Model:        record.Model,
		Credits:      Credits(record.CreditsMicro),
		Messages:     1,
	}
	if record.OccurredAtUs == 0 {
		// Absent and 1970 look the same on the wire, and nobody means 1970.
		e.OccurredAt = time.Time{}
	}
	if len(record.IdUuid) > 0 {
		if len(record.IdUuid) != 16 {
			return fmt.Errorf("%w: %w", ErrRecord, FieldError{Field: "id_uuid", Code: "id_invalid", Detail: fmt.Sprintf("has %d bytes; a UUID has 16", len(record.IdUuid))})
		}
		if record.Id != "" {
			return fmt.Errorf("%w: %w", ErrRecord, FieldError{Field: "id", Code: "id_invalid", Detail: "id and id_uuid are both set; set one"})
		}
		e.ID = unpackUUID([16]byte(record.IdUuid))
	}
	if record.Adjustment != nil {
		e.Messages = 0
		e.Adjustment = &Adjustment{Reason: record.Adjustment.Reason, EventID: record.Adjustment.EventId}
	}
	if record.Messages != nil {
		e.Messages = *record.Messages
	}
	return nil
}

// packUUID returns the 16 bytes of a canonical lower-case UUID text.
func packUUID(text string) (raw [16]byte, ok bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return raw, false
	}
	digits := [36]byte([]byte(text))
	var seen byte
	for j, i := range uuidDigits {
		hi, lo := hexDigits[digits[i]], hexDigits[digits[i+1]]
		seen |= hi | lo
		raw[j] = hi<<4 | lo
	}
	return raw, seen <= 15
}

// uuidDigits is where each byte's two digits stand in a UUID's text.
var uuidDigits = [16]uint8{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// hexDigits is what each character is worth as a lower-case hexadecimal digit;
// 0xff where it is none.
var hexDigits = func() (worth [256]byte) {
	for c := range worth {
		worth[c] = 0xff
	}
	for value, c := range "0123456789abcdef" {
		worth[c] = byte(value)
	}
	return worth
}()

const uuidLength = 36

// appendUUID appends a UUID's canonical text.
func appendUUID(dst []byte, raw [16]byte) []byte {
	var text [uuidLength]byte
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	for i, at := range uuidDigits {
		text[at], text[at+1] = hexPairs[raw[i]][0], hexPairs[raw[i]][1]
	}
	return append(dst, text[:]...)
}

// hexPairs is each byte in lower-case hexadecimal.
var hexPairs = func() (pairs [256][2]byte) {
	const digits = "0123456789abcdef"
	for b := range pairs {
		pairs[b] = [2]byte{digits[b>>4], digits[b&15]}
	}
	return pairs
}()

func unpackUUID(raw [16]byte) string { return string(appendUUID(nil, raw)) }

// RecordWorkspace is the workspace that a record of the events topic is of, as
// far as can be told: the record may be no acceptable event. Empty where
// nothing says so.
func RecordWorkspace(key, value []byte) WorkspaceID {
	var event usagev1.Event
	if err := event.UnmarshalVT(value); err == nil && event.WorkspaceId != "" {
		return WorkspaceID(event.WorkspaceId)
	}
	if end := bytes.LastIndexByte(key, '/'); end > 0 {
		return WorkspaceID(key[:end])
	}
	return ""
}
