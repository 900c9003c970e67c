package rollup

import (
	"context"
	"fmt"
	"strconv"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/google/uuid"

	"agentmeter/internal/clickhouse"
	"agentmeter/schemas"
)

var selectEvent = readSQL("find_event.sql")

// RecordedEvent is what the ledger recorded under the id of an event.
type RecordedEvent struct {
	Stream    uuid.UUID
	Partition int32
	Offset    int64
	Outcome   schemas.Outcome
	// Event is its payload (see schemas.Event.PayloadHash); of a Playground test the
	// ledger keeps no credits.
	Event schemas.Event
}

// FindEvent looks up what was recorded under an id, in whichever stream and on
// whichever shard; nil: nothing was. It is for people: counting itself goes by what
// was recorded below a block (findRecorded).
func FindEvent(ctx context.Context, client *clickhouse.Client, workspace schemas.WorkspaceID, id string) (*RecordedEvent, error) {
	hash := schemas.HashID(workspace, id)
	var stream proto.ColUUID
	var partition proto.ColInt32
	var rows ledgerRows
	columns := append(proto.Results{{Name: "stream", Data: &stream}, {Name: "partition", Data: &partition}}, rows.columns()...)
	var found *RecordedEvent
	err := client.Reads().Select(ctx, clickhouse.Statement{SQL: selectEvent, Params: map[string]string{
		"key": strconv.FormatUint(uint64(hash.Key()), 10), "workspace": string(workspace), "id": id,
	}}, columns, func(n int) error {
		for i := range n {
			event, outcome := rows.event(i)
			found = &RecordedEvent{stream.Row(i), partition.Row(i), rows.offset.Row(i), outcome, event}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up what was recorded under the id: %w", err)
	}
	return found, nil
}
