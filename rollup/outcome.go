package rollup

import (
	"errors"

	"agentmeter/schemas"
)

// decode fills in the rows' events and marks records that cannot be counted.
// partitions is how many the topic has.
func decode(rows []row, decoder *schemas.EventDecoder, partition, partitions int32) {
	var key []byte
	for i := range rows {
		r := &rows[i]
		if r.record == nil {
			continue
		}
		if err := decoder.Decode(r.record.Value, &r.event); err != nil {
			r.event = schemas.Event{}
			r.outcome, r.detail = schemas.OutcomeInvalid, invalidCode(err)
			continue
		}
		// Copies of an id must meet in one partition, or they would not be
		// seen to be copies.
		key = schemas.AppendRecordKey(key[:0], r.event.Workspace, r.event.ID)
		if schemas.PartitionOf(key, partitions) != partition {
			r.outcome, r.detail = schemas.OutcomeInvalid, schemas.CodeWrongPartition
			continue
		}
		r.hash = schemas.HashID(r.event.Workspace, r.event.ID)
		r.payload = r.event.PayloadHash()
	}
}

// invalidCode is the stable code of a record that does not decode.
func invalidCode(err error) string {
	var field schemas.FieldError
	if errors.As(err, &field) {
		return field.Code
	}
	return schemas.CodeUndecodable
}

// classify gives each undecided row of the block its outcome. known holds the
// payload hashes of ids recorded before the block; the block's own first
// copies are added to it. Of several copies of an id the first counts; one
// with another payload is invalid, never a silent overwrite.
func classify(rows []row, known map[schemas.IDHash]uint64) {
	for i := range rows {
		r := &rows[i]
		if r.outcome != 0 {
			continue
		}
		payload, seen := known[r.hash]
		switch {
		case seen && payload == r.payload:
			r.outcome = schemas.OutcomeDuplicate
		case seen:
			r.outcome, r.detail = schemas.OutcomeInvalid, schemas.CodePayloadConflict
		default:
			known[r.hash] = r.payload
			switch {
			case r.event.Adjustment != nil:
				r.outcome = schemas.OutcomeAdjustment
			case r.event.Playground():
				r.outcome = schemas.OutcomePlayground
			default:
				r.outcome = schemas.OutcomeCounted
			}
		}
	}
}
