package ingest

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
	"agentmeter/schemas/usagev1"
)

// eventsField is EventBatch.events.
const eventsField = 1

// decodeProtobuf reads an EventBatch, event by event, without building it: one
// record is reused, and an event that is too large or broken is one rejected
// item.
func decodeProtobuf(body []byte, b *batch) error {
	record := protobufRecord{decoder: schemas.EventDecoder{ReuseIDs: true}}
	for len(body) > 0 {
		field, kind, n := protowire.ConsumeTag(body)
		if n < 0 {
			return invalidProtobuf(protowire.ParseError(n))
		}
		if field != eventsField || kind != protowire.BytesType {
			return invalidProtobuf(errors.New("a field that an EventBatch does not have"))
		}
		value, m := protowire.ConsumeBytes(body[n:])
		if m < 0 {
			return invalidProtobuf(protowire.ParseError(m))
		}
		body = body[n+m:]
		if err := b.protobufEvent(value, &record); err != nil {
			return err
		}
	}
	return nil
}

func invalidProtobuf(err error) error {
	problem := httpapi.BadRequest("protobuf_invalid", "The body is not a well-formed agentmeter.usage.v1.EventBatch.")
	problem.Cause = err
	return problem
}

// protobufRecord is what decoding events one after another reuses.
type protobufRecord struct {
	usagev1.Event
	decoder schemas.EventDecoder
}

// protobufEvent takes one encoded Event as an item.
func (b *batch) protobufEvent(value []byte, record *protobufRecord) error {
	if err := b.next(); err != nil {
		return err
	}
	if !b.fits(len(value)) {
		return nil
	}
	if record.decoder.DecodeCanonical(value, &b.event) {
		b.encoded = value
		b.accept(&b.event, nil)
		return nil
	}
	record.Reset()
	if err := record.UnmarshalVTUnsafe(value); err != nil {
		b.reject("", schemas.FieldError{Code: codeEventInvalid, Detail: "is not a well-formed agentmeter.usage.v1.Event"})
		return nil //nolint:nilerr // it is the item's fault, and listed
	}
	var faults []schemas.FieldError
	if err := schemas.EventFromRecord(&record.Event, &b.event); err != nil {
		fault := schemas.FieldError{Code: codeEventInvalid, Detail: "is not an agentmeter.usage.v1.Event"}
		errors.As(err, &fault)
		b.reject(record.Id, fault)
		return nil
	}
	if len(record.ProtoReflect().GetUnknown()) > 0 {
		faults = append(faults, schemas.FieldError{Code: codeFieldUnknown, Detail: "has a field that agentmeter.usage.v1.Event does not have"})
	}
	if b.event.Adjustment != nil {
		faults = append(faults, schemas.FieldError{Field: "adjustment", Code: codeAdjustment, Detail: "is set; adjustments go to POST /v1/adjustments"})
	}
	b.accept(&b.event, faults)
	return nil
}
