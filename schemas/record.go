package schemas

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"agentmeter/schemas/usagev1"
)

// ErrRecord is the root of every error that DecodeEvent returns: the bytes are
// not the record of an acceptable event, and trying again will not help.
var ErrRecord = errors.New("not a usage event record")

// EncodeEvent appends the event's protobuf record to dst. The event must have
// passed Validate.
func EncodeEvent(dst []byte, e *Event) []byte {
	var record usagev1.Event
	fillRecord(&record, e)
	size := record.SizeVT()
	n := len(dst)
	if cap(dst)-n < size {
		grown := make([]byte, n, n+size)
		copy(grown, dst)
		dst = grown
	}
	dst = dst[:n+size]
	if _, err := record.MarshalToSizedBufferVT(dst[n:]); err != nil {
		// The generated code has no failing path for this message.
		panic(fmt.Sprintf("schemas: marshal event: %v", err))
	}
	return dst
}

func fillRecord(record *usagev1.Event, e *Event) {
	record.WorkspaceId = string(e.Workspace)
	if raw, ok := packUUID(e.ID); ok {
		record.IdUuid = raw[:]
	} else {
		record.Id = e.ID
	}
	record.AgentId = string(e.Agent)
	record.ConversationId = e.Conversation
	record.OccurredAtUs = e.OccurredAt.UnixMicro()
	record.Channel = e.Channel
	record.Model = e.Model
	record.CreditsMicro = int64(e.Credits)
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
	record usagev1.Event
}

// Decode reads one record into e and validates it. The strings of e share
// value's memory, so value must not change while e is in use. Every error
// wraps ErrRecord; one for a well-formed record of an unacceptable event also
// carries the FieldError.
func (d *EventDecoder) Decode(value []byte, e *Event) error {
	d.record.Reset()
	if err := d.record.UnmarshalVTUnsafe(value); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if err := EventFromRecord(&d.record, e); err != nil {
		return err
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
	j := 0
	for i := 0; i < 36; {
		if text[i] == '-' {
			i++
			continue
		}
		hi, lo := fromHex(text[i]), fromHex(text[i+1])
		if hi > 15 || lo > 15 {
			return raw, false
		}
		raw[j] = hi<<4 | lo
		j++
		i += 2
	}
	return raw, true
}

func fromHex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	default:
		return 0xff
	}
}

func unpackUUID(raw [16]byte) string {
	var text [36]byte
	hex.Encode(text[0:8], raw[0:4])
	text[8] = '-'
	hex.Encode(text[9:13], raw[4:6])
	text[13] = '-'
	hex.Encode(text[14:18], raw[6:8])
	text[18] = '-'
	hex.Encode(text[19:23], raw[8:10])
	text[23] = '-'
	hex.Encode(text[24:36], raw[10:16])
	return string(text[:])
}
