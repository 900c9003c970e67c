package rollup

import (
	"bytes"
	"context"
	"encoding/hex"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/google/uuid"

	"agentmeter/internal/clickhouse"
	"agentmeter/schemas"
)

// Lists in a statement's text are machine-made (hexadecimal, digits). They do
// not travel as bound parameters because those are part of the URL, which
// servers bound at 1 MiB; so is the text of a statement, here.
var listSettings = map[string]string{"max_query_size": "1048576"}

// maxListed is how many entries a list has at most, so that a statement stays
// below its bound: a hash takes 33 bytes, an offset up to 20.
const maxListed = 25_000

// findPayloads returns the payload hash under which each of the given ids was
// recorded first; ids that are new are absent.
func (l *ledger) findPayloads(ctx context.Context, hashes []schemas.IDHash) (map[schemas.IDHash]uint64, error) {
	found := make(map[schemas.IDHash]uint64)
	for chunk := range slices.Chunk(hashes, maxListed) {
		if err := l.findSome(ctx, chunk, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (l *ledger) findSome(ctx context.Context, hashes []schemas.IDHash, found map[schemas.IDHash]uint64) error {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	list := make([]byte, 0, len(hashes)*(2*len(schemas.IDHash{})+1))
	for i := range hashes {
		if i > 0 {
			list = append(list, ',')
		}
		list = hex.AppendEncode(list, hashes[i][:])
	}
	var sql bytes.Buffer
	if err := sqlStatements.findIDs.Execute(&sql, struct{ Hashes string }{string(list)}); err != nil {
		return err
	}
	var hash proto.ColFixedStr
	hash.SetSize(len(schemas.IDHash{}))
	var stream proto.ColUUID
	var partition proto.ColInt32
	var offset proto.ColInt64
	columns := proto.Results{
		{Name: "id_hash", Data: &hash},
		{Name: "stream", Data: &stream},
		{Name: "partition", Data: &partition},
		{Name: "first_offset", Data: &offset},
	}
	type place struct {
		stream    uuid.UUID
		partition int32
	}
	offsets := make(map[place][]int64)
	err := l.client.Select(ctx, clickhouse.Statement{SQL: sql.String(), Settings: listSettings}, columns, func(n int) error {
		for i := range n {
			at := place{stream.Row(i), partition.Row(i)}
			offsets[at] = append(offsets[at], offset.Row(i))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for at, list := range offsets {
		if err := l.readPayloads(ctx, at.stream, at.partition, list, found); err != nil {
			return err
		}
	}
	return nil
}

// readPayloads adds what the ledger recorded at the given offsets to found. An
// id that is known from several streams keeps its first entry there; a cut-over
// never leaves an id counted in both.
func (l *ledger) readPayloads(ctx context.Context, stream uuid.UUID, partition int32, offsets []int64, found map[schemas.IDHash]uint64) error {
	list := make([]byte, 0, len(offsets)*12)
	for i, offset := range offsets {
		if i > 0 {
			list = append(list, ',')
		}
		list = strconv.AppendInt(list, offset, 10)
	}
	var sql bytes.Buffer
	if err := sqlStatements.findPayloads.Execute(&sql, struct{ Offsets string }{string(list)}); err != nil {
		return err
	}
	var offset, credits, messages proto.ColInt64
	var workspace, id, agent, channel proto.ColStr
	var occurredAt proto.ColDateTime64
	occurredAt.WithPrecision(proto.PrecisionMicro).WithLocation(time.UTC)
	var outcome proto.ColInt8
	columns := proto.Results{
		{Name: "offset", Data: &offset},
		{Name: "workspace_id", Data: &workspace},
		{Name: "event_id", Data: &id},
		{Name: "agent_id", Data: &agent},
		{Name: "channel_name", Data: &channel},
		{Name: "occurred_at", Data: &occurredAt},
		{Name: "credits", Data: &credits},
		{Name: "messages", Data: &messages},
		{Name: "outcome_number", Data: &outcome},
	}
	params := map[string]string{"stream": stream.String(), "partition": strconv.Itoa(int(partition))}
	return l.client.Select(ctx, clickhouse.Statement{SQL: sql.String(), Params: params, Settings: listSettings}, columns, func(n int) error {
		for i := range n {
			event := schemas.Event{
				ID:         id.Row(i),
				Workspace:  schemas.WorkspaceID(workspace.Row(i)),
				Agent:      schemas.AgentID(agent.Row(i)),
				Channel:    channel.Row(i),
				OccurredAt: occurredAt.Row(i),
				Credits:    schemas.Credits(credits.Row(i)),
				Messages:   messages.Row(i),
			}
			if schemas.Outcome(outcome.Row(i)) == schemas.OutcomeAdjustment {
				event.Adjustment = &schemas.Adjustment{}
			}
			hash := schemas.HashID(event.Workspace, event.ID)
			if _, ok := found[hash]; !ok {
				found[hash] = event.PayloadHash()
			}
		}
		return nil
	})
}
