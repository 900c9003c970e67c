package rollup

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"text/template"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"agentmeter/internal/clickhouse"
	"agentmeter/schemas"
)

// Lists in a statement's text are machine-made (base64). They do not travel as
// bound parameters because those are part of the URL, which servers bound at 1
// MiB; so is the text of a statement, here.
var listSettings = map[string]string{"max_query_size": "1048576"}

// How many entries a statement lists at most, so that its text stays below its
// bound: base64 takes 4 bytes for 3.
const (
	keyBytes   = schemas.IDKeyBits / 8
	maxKeys    = 120_000
	maxOffsets = 90_000
)

// errInconsistentIDs means that the id look-up names a place where the ledger
// recorded no event of the key. Whether such an id was counted cannot be told.
var errInconsistentIDs = errors.New("the id look-up does not agree with the ledger; run agentmeter rebuild")

// findRecorded returns the payload hashes of what was recorded under the given ids
// below offset lo of this partition, or anywhere in another stream; ids that are
// new are absent. The look-up says at which places they may stand, and the ledger's
// text which ids those are.
//
// A look-up row at or above lo is a leftover: of a try whose block never got
// into the ledger, or of a ledger that was set back. The id is new. What the other
// partitions of the stream have is nothing to this one, whatever state they are in.
func (l *ledger) findRecorded(ctx context.Context, ids []schemas.IDHash, lo int64) (map[schemas.IDHash]uint64, error) {
	search := search{places: make(map[clickhouse.Place]map[int64]schemas.IDKey), recorded: make(map[schemas.IDHash]uint64)}
	search.wanted = make(map[schemas.IDHash]struct{}, len(ids))
	for _, id := range ids {
		search.wanted[id] = struct{}{}
	}
	found := func(key schemas.IDKey, at clickhouse.Place, offset int64) {
		if at.Stream == l.stream && (at.Partition != l.partition || offset >= lo) {
			return // copies meet in one partition: in another one it is another id
		}
		offsets := search.places[at]
		if offsets == nil {
			offsets = make(map[int64]schemas.IDKey)
			search.places[at] = offsets
		}
		offsets[offset] = key
	}
	for chunk := range slices.Chunk(ids, maxKeys) {
		if err := l.findPlaces(ctx, chunk, found); err != nil {
			return nil, err
		}
	}
	for at, keys := range search.places {
		offsets := slices.Sorted(maps.Keys(keys))
		for chunk := range slices.Chunk(offsets, maxOffsets) {
			if err := l.readRecorded(ctx, &search, at, chunk); err != nil {
				return nil, err
			}
		}
	}
	return search.recorded, nil
}

// search is a look-up under way.
type search struct {
	wanted   map[schemas.IDHash]struct{}
	places   map[clickhouse.Place]map[int64]schemas.IDKey // where the look-up has which key
	recorded map[schemas.IDHash]uint64                    // payload hashes
}

// findPlaces gives every place at which one of the ids may have been recorded to
// found.
func (l *ledger) findPlaces(ctx context.Context, ids []schemas.IDHash, found func(schemas.IDKey, clickhouse.Place, int64)) error {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	list := make([]byte, 0, len(ids)*keyBytes+8)
	for i := range ids {
		list = binary.LittleEndian.AppendUint64(list, uint64(ids[i].Key()))[:len(list)+keyBytes]
	}
	sql, err := listStatement(sqlStatements.findIDs, struct {
		Keys         string
		Width, Count int
	}{base64.StdEncoding.EncodeToString(list), keyBytes, len(ids)})
	if err != nil {
		return err
	}
	var key proto.ColUInt64
	var stream proto.ColUUID
	var partition proto.ColInt32
	var offset proto.ColInt64
	columns := proto.Results{
		{Name: "id_key", Data: &key},
		{Name: "stream", Data: &stream},
		{Name: "partition", Data: &partition},
		{Name: "offset", Data: &offset},
	}
	return l.client.Select(ctx, clickhouse.Statement{SQL: sql, Settings: listSettings, EachShard: true}, columns, func(n int) error {
		for i := range n {
			found(schemas.IDKey(key.Row(i)), clickhouse.Place{Stream: stream.Row(i), Partition: partition.Row(i)}, offset.Row(i))
		}
		return nil
	})
}

func listStatement(statement *template.Template, list any) (string, error) {
	var sql bytes.Buffer
	if err := statement.Execute(&sql, list); err != nil {
		return "", fmt.Errorf("write statement: %w", err)
	}
	return sql.String(), nil
}

// readRecorded adds what the ledger recorded at the given offsets, under ids that are
// wanted, to the search. An id that is known from several places keeps what is read
// first; a cut-over never leaves an id counted in both streams.
func (l *ledger) readRecorded(ctx context.Context, search *search, at clickhouse.Place, offsets []int64) error {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	list := make([]byte, 0, len(offsets)*8)
	for _, offset := range offsets {
		list = binary.LittleEndian.AppendUint64(list, uint64(offset))
	}
	sql, err := listStatement(sqlStatements.findPayloads, struct {
		Offsets string
		Count   int
	}{base64.StdEncoding.EncodeToString(list), len(offsets)})
	if err != nil {
		return err
	}
	there := &ledger{stream: at.Stream, partition: at.Partition}
	keys := search.places[at]
	read := 0
	var rows ledgerRows
	err = l.client.Select(ctx, clickhouse.Statement{SQL: sql, Params: there.params(), Settings: listSettings, Place: there.place()}, rows.columns(), func(n int) error {
		for i := range n {
			offset := rows.offset.Row(i)
			key, ok := keys[offset]
			if !ok {
				return fmt.Errorf("offset %d was not asked for", offset)
			}
			read++
			if schemas.Outcome(rows.outcome.Row(i)) == schemas.OutcomeErased {
				continue // of whom it was is not known any more, and no copy of it is kept
			}
			id, payload, ok := rows.recorded(i)
			if !ok || id.Key() != key {
				return fmt.Errorf("%w: offset %d of stream %s, partition %d, holds another id or did not record it", errInconsistentIDs, offset, at.Stream, at.Partition)
			}
			if _, ok := search.wanted[id]; !ok {
				continue // another one with the same key
			}
			if _, ok := search.recorded[id]; !ok {
				search.recorded[id] = payload
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if read != len(offsets) {
		return fmt.Errorf("%w: of %d offsets of stream %s, partition %d, from %d to %d, the ledger holds %d", errInconsistentIDs,
			len(offsets), at.Stream, at.Partition, offsets[0], offsets[len(offsets)-1], read)
	}
	return nil
}

// ledgerRows decodes what find_payloads.sql and find_event.sql select.
type ledgerRows struct {
	offset, credits, messages     proto.ColInt64
	workspace, id, agent, channel proto.ColStr
	occurredAt                    proto.ColDateTime64
	outcome                       proto.ColInt8
}

func (r *ledgerRows) columns() proto.Results {
	r.occurredAt.WithPrecision(proto.PrecisionMicro).WithLocation(time.UTC)
	return proto.Results{
		{Name: "offset", Data: &r.offset},
		{Name: "workspace_id", Data: &r.workspace},
		{Name: "event_id", Data: &r.id},
		{Name: "agent_id", Data: &r.agent},
		{Name: "channel_name", Data: &r.channel},
		{Name: "occurred_at", Data: &r.occurredAt},
		{Name: "credits", Data: &r.credits},
		{Name: "messages", Data: &r.messages},
		{Name: "outcome_number", Data: &r.outcome},
	}
}

// event is what row i says of its event's payload.
func (r *ledgerRows) event(i int) (event schemas.Event, outcome schemas.Outcome) {
	event = schemas.Event{
		ID:         r.id.Row(i),
		Workspace:  schemas.WorkspaceID(r.workspace.Row(i)),
		Agent:      schemas.AgentID(r.agent.Row(i)),
		Channel:    r.channel.Row(i),
		OccurredAt: r.occurredAt.Row(i),
		Credits:    schemas.Credits(r.credits.Row(i)),
		Messages:   r.messages.Row(i),
	}
	if outcome = schemas.Outcome(r.outcome.Row(i)); outcome == schemas.OutcomeAdjustment {
		event.Adjustment = &schemas.Adjustment{}
	}
	return event, outcome
}

// recorded is what row i recorded, and under which id, if it recorded an event.
func (r *ledgerRows) recorded(i int) (id schemas.IDHash, payload uint64, ok bool) {
	event, outcome := r.event(i)
	switch outcome {
	case schemas.OutcomeCounted, schemas.OutcomePlayground, schemas.OutcomeAdjustment:
		return schemas.HashID(event.Workspace, event.ID), event.PayloadHash(), true
	default:
		return schemas.IDHash{}, 0, false
	}
}

// idsAStretch is about how many rows of the look-up table a statement of a load
// reads, so that no answer is large and a cancelled load ends soon.
const idsAStretch = 1 << 20

// ledgerIDs yields the ids for a filter from the look-up table.
type ledgerIDs struct{ *ledger }

func (l ledgerIDs) countIDs(ctx context.Context) (n int64, err error) {
	return l.countRows(ctx, sqlStatements.countIDs)
}

func (l *ledger) countRows(ctx context.Context, sql string) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, repairPatience*l.timeout)
	defer cancel()
	var count proto.ColInt64
	err = l.client.Select(ctx, clickhouse.Statement{SQL: sql, Params: l.params(), Settings: longReadSettings, EachShard: true}, proto.Results{{Name: "ids", Data: &count}}, func(rows int) error {
		for i := range rows {
			n += count.Row(i)
		}
		return nil
	})
	return n, err
}

func (l ledgerIDs) loadIDs(ctx context.Context, yield func([]schemas.IDKey)) error {
	total, err := l.countRows(ctx, sqlStatements.sizeIDs)
	if err != nil {
		return err
	}
	for from, through := range schemas.KeyRanges(total, idsAStretch) {
		if err := l.loadStretch(ctx, stretch{from, through}, yield); err != nil {
			return err
		}
	}
	return nil
}

func (l ledgerIDs) loadStretch(ctx context.Context, s stretch, yield func([]schemas.IDKey)) error {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	var key proto.ColUInt64
	var ids []schemas.IDKey
	return l.client.Select(ctx, clickhouse.Statement{SQL: sqlStatements.loadIDs, Params: l.stretchParams(s), Settings: longReadSettings, EachShard: true}, proto.Results{{Name: "id_key", Data: &key}}, func(n int) error {
		ids = ids[:0]
		for i := range n {
			ids = append(ids, schemas.IDKey(key.Row(i)))
		}
		yield(ids)
		return nil
	})
}
