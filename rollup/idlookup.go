package rollup

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	// Whole hashes are for few ids, of which the primary key finds the granules.
	// Beyond some thousands every granule of a table of ten million ids holds
	// one, and what counts is to read the table once.
	maxWhole    = 20_000
	wholeBytes  = len(schemas.IDHash{})
	prefixBytes = 8
	maxPrefixes = 90_000
	maxOffsets  = 90_000
)

// errInconsistentIDs means that the id look-up names a place where the ledger
// has something else. Whether such an id was counted cannot be told.
var errInconsistentIDs = errors.New("the id look-up does not agree with the ledger; run agentmeter rebuild")

// findRecorded returns what was recorded under the given ids below offset lo of
// this partition, or anywhere in another stream; ids that are new are absent.
//
// A look-up row at or above lo is a leftover: of a try whose block never got
// into the ledger, or of a ledger that was set back. The id is new.
func (l *ledger) findRecorded(ctx context.Context, ids []schemas.IDHash, lo int64) (map[schemas.IDHash]recordedID, error) {
	wanted := make(map[schemas.IDHash]struct{}, len(ids))
	for _, id := range ids {
		wanted[id] = struct{}{}
	}
	places := make(map[clickhouse.Place]map[int64]schemas.IDHash)
	found := func(id schemas.IDHash, at clickhouse.Place, offset int64) {
		if _, ok := wanted[id]; !ok {
			return // it only begins like one
		}
		if at == *l.place() && offset >= lo {
			return
		}
		offsets := places[at]
		if offsets == nil {
			offsets = make(map[int64]schemas.IDHash)
			places[at] = offsets
		}
		offsets[offset] = id
	}
	width, most := prefixBytes, maxPrefixes
	if len(ids) <= maxWhole {
		width, most = wholeBytes, maxWhole
	}
	for chunk := range slices.Chunk(ids, most) {
		if err := l.findPlaces(ctx, chunk, width, found); err != nil {
			return nil, err
		}
	}
	recorded := make(map[schemas.IDHash]recordedID)
	for at, ids := range places {
		offsets := make([]int64, 0, len(ids))
		for offset := range ids {
			offsets = append(offsets, offset)
		}
		slices.Sort(offsets)
		for chunk := range slices.Chunk(offsets, maxOffsets) {
			if err := l.readRecorded(ctx, at, chunk, ids, recorded); err != nil {
				return nil, err
			}
		}
	}
	return recorded, nil
}

// findPlaces gives every place at which one of the ids was recorded to found,
// and perhaps places of other ids.
func (l *ledger) findPlaces(ctx context.Context, ids []schemas.IDHash, width int, found func(schemas.IDHash, clickhouse.Place, int64)) error {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	list := make([]byte, 0, len(ids)*width)
	for i := range ids {
		list = append(list, ids[i][:width]...)
	}
	sql, err := listStatement(sqlStatements.findIDs, struct {
		Hashes       string
		Width, Count int
	}{base64.StdEncoding.EncodeToString(list), width, len(ids)})
	if err != nil {
		return err
	}
	var hash proto.ColFixedStr
	hash.SetSize(wholeBytes)
	var stream proto.ColUUID
	var partition proto.ColInt32
	var offset proto.ColInt64
	columns := proto.Results{
		{Name: "id_hash", Data: &hash},
		{Name: "stream", Data: &stream},
		{Name: "partition", Data: &partition},
		{Name: "offset", Data: &offset},
	}
	return l.client.Select(ctx, clickhouse.Statement{SQL: sql, Settings: listSettings, EachShard: true}, columns, func(n int) error {
		for i := range n {
			found(schemas.IDHash(hash.Row(i)), clickhouse.Place{Stream: stream.Row(i), Partition: partition.Row(i)}, offset.Row(i))
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

// readRecorded adds what the ledger recorded at the given offsets to recorded.
// ids says which id the look-up has at each. An id that is known from several
// places keeps what is read first; a cut-over never leaves an id counted in
// both streams.
func (l *ledger) readRecorded(ctx context.Context, at clickhouse.Place, offsets []int64, ids map[int64]schemas.IDHash, recorded map[schemas.IDHash]recordedID) error {
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
	read := 0
	var rows ledgerRows
	err = l.client.Select(ctx, clickhouse.Statement{SQL: sql, Params: there.params(), Settings: listSettings, Place: there.place()}, rows.columns(), func(n int) error {
		for i := range n {
			offset := rows.offset.Row(i)
			id, ok := ids[offset]
			if !ok {
				return fmt.Errorf("offset %d was not asked for", offset)
			}
			got, what := rows.recorded(i)
			switch {
			case got.erased:
			case what != id:
				return fmt.Errorf("%w: offset %d of stream %s, partition %d, holds another id or did not record it", errInconsistentIDs, offset, at.Stream, at.Partition)
			}
			read++
			if _, ok := recorded[id]; !ok {
				recorded[id] = got
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

// ledgerRows decodes what find_payloads.sql selects.
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

// recorded is what row i recorded, and under which id: the zero id where it
// recorded none.
func (r *ledgerRows) recorded(i int) (recordedID, schemas.IDHash) {
	event := schemas.Event{
		ID:         r.id.Row(i),
		Workspace:  schemas.WorkspaceID(r.workspace.Row(i)),
		Agent:      schemas.AgentID(r.agent.Row(i)),
		Channel:    r.channel.Row(i),
		OccurredAt: r.occurredAt.Row(i),
		Credits:    schemas.Credits(r.credits.Row(i)),
		Messages:   r.messages.Row(i),
	}
	switch schemas.Outcome(r.outcome.Row(i)) {
	case schemas.OutcomeErased:
		return recordedID{erased: true}, schemas.IDHash{}
	case schemas.OutcomeAdjustment:
		event.Adjustment = &schemas.Adjustment{}
	case schemas.OutcomeCounted, schemas.OutcomePlayground:
	default:
		return recordedID{}, schemas.IDHash{}
	}
	return recordedID{payload: event.PayloadHash()}, schemas.HashID(event.Workspace, event.ID)
}

// loadSettings keep a load from taking what counting needs.
var loadSettings = map[string]string{"max_threads": "1"}

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
	err = l.client.Select(ctx, clickhouse.Statement{SQL: sql, Params: l.params(), Settings: loadSettings, EachShard: true}, proto.Results{{Name: "ids", Data: &count}}, func(rows int) error {
		for i := range rows {
			n += count.Row(i)
		}
		return nil
	})
	return n, err
}

func (l ledgerIDs) loadIDs(ctx context.Context, yield func([]schemas.IDHash)) error {
	total, err := l.countRows(ctx, sqlStatements.sizeIDs)
	if err != nil {
		return err
	}
	// Hashes are uniform, so equal stretches of their range hold about as many
	// ids each.
	stretches := 1
	for int64(stretches)*idsAStretch < total && stretches < 1<<16 {
		stretches *= 2
	}
	width := 1 << 16 / stretches
	for i := range stretches {
		from, through := i*width, (i+1)*width-1
		if err := l.loadStretch(ctx, stretchBound(from, "00"), stretchBound(through, "ff"), yield); err != nil {
			return err
		}
	}
	return nil
}

// stretchBound is the hash, hexadecimal, that begins with two given bytes and
// goes on with one repeated.
func stretchBound(begin int, rest string) string {
	head := binary.BigEndian.AppendUint16(nil, uint16(begin))
	return hex.EncodeToString(head) + strings.Repeat(rest, wholeBytes-len(head))
}

func (l ledgerIDs) loadStretch(ctx context.Context, from, through string, yield func([]schemas.IDHash)) error {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	params := l.params()
	params["from"], params["through"] = from, through
	var hash proto.ColFixedStr
	hash.SetSize(wholeBytes)
	var ids []schemas.IDHash
	return l.client.Select(ctx, clickhouse.Statement{SQL: sqlStatements.loadIDs, Params: params, Settings: loadSettings, EachShard: true}, proto.Results{{Name: "id_hash", Data: &hash}}, func(n int) error {
		ids = ids[:0]
		for i := range n {
			ids = append(ids, schemas.IDHash(hash.Row(i)))
		}
		yield(ids)
		return nil
	})
}
