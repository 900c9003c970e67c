package rollup

import (
	"context"
	"fmt"

	"agentmeter/schemas"
)

// knownIDs answers, for one partition, whether an event id has been recorded
// before, and with which payload.
//
// It is exact: an id that is not among the recent ones in memory is looked up
// in ClickHouse, one query for a whole block, however old it is. The memory
// only saves look-ups for quick re-sends. It is bounded by count; the oldest
// entry makes room for the newest.
//
// It is right because of the protocol: whoever appends block n has seen that
// the ledger ends where n begins, so everything recorded before is in the
// look-up table (the last block is reconciled on assignment) or in memory.
type knownIDs struct {
	ledger *ledger
	recent map[schemas.IDHash]uint64 // payload hash
	order  []schemas.IDHash          // ring of recent's keys, oldest at next
	next   int
	limit  int
}

func newKnownIDs(l *ledger, limit int) *knownIDs {
	return &knownIDs{ledger: l, recent: make(map[schemas.IDHash]uint64), limit: limit}
}

// lookUp returns the payload hashes of those ids of rows that were recorded
// before. Rows without a decoded event are passed over.
func (k *knownIDs) lookUp(ctx context.Context, rows []row) (map[schemas.IDHash]uint64, error) {
	known := make(map[schemas.IDHash]uint64)
	var unsure []schemas.IDHash
	for i := range rows {
		r := &rows[i]
		if r.record == nil || r.outcome != 0 {
			continue
		}
		if payload, ok := k.recent[r.hash]; ok {
			known[r.hash] = payload
		} else {
			unsure = append(unsure, r.hash)
		}
	}
	if len(unsure) == 0 {
		return known, nil
	}
	found, err := k.ledger.findPayloads(ctx, unsure)
	if err != nil {
		return nil, fmt.Errorf("look up ids: %w", err)
	}
	for hash, payload := range found {
		known[hash] = payload
	}
	return known, nil
}

// remember keeps the ids that a confirmed block recorded first.
func (k *knownIDs) remember(rows []row) {
	if k.limit == 0 {
		return
	}
	for i := range rows {
		r := &rows[i]
		switch r.outcome {
		case schemas.OutcomeCounted, schemas.OutcomePlayground, schemas.OutcomeAdjustment:
		default:
			continue
		}
		if _, ok := k.recent[r.hash]; ok {
			continue
		}
		if len(k.order) < k.limit {
			k.order = append(k.order, r.hash)
		} else {
			delete(k.recent, k.order[k.next])
			k.order[k.next] = r.hash
			k.next = (k.next + 1) % k.limit
		}
		k.recent[r.hash] = r.payload
	}
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
			r.outcome, r.detail = schemas.OutcomeInvalid, codePayloadConflict
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

// Codes of invalid records, in the ledger's detail and in dead letters.
const (
	codeUndecodable     = "undecodable"
	codeWrongPartition  = "wrong_partition"
	codePayloadConflict = "payload_conflict"
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
			r.outcome, r.detail = schemas.OutcomeInvalid, codeWrongPartition
			continue
		}
		r.hash = schemas.HashID(r.event.Workspace, r.event.ID)
		r.payload = r.event.PayloadHash()
	}
}
