package rollup

import (
	"fmt"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/clickhouse"
	"agentmeter/schemas"
)

// row is what becomes of one Kafka offset.
type row struct {
	offset    int64
	kafkaTime time.Time
	outcome   schemas.Outcome
	event     schemas.Event // what was decoded; zero for invalid records and gaps
	detail    string        // the code of what is wrong with an invalid record
	hash      schemas.IDHash
	payload   uint64
	record    *kgo.Record // nil for a gap
}

// block is a run of rows [lo, hi), one row an offset.
type block struct {
	lo, hi int64
	day    time.Time // of the broker's clock
	rows   []row
}

// blockSize is how much a block may be: rows, and bytes of the records that they
// are made of.
type blockSize struct{ rows, bytes int }

// maxBlockBytes bounds what a block takes of memory, which is some three times as
// much, however long the texts of its events are. Of ordinary ones a block of the
// largest number of rows by default has a quarter of it.
const maxBlockBytes = 32 << 20

// part is one of n equal ones, of at least one row.
func (s blockSize) part(n int) blockSize { return blockSize{max(1, s.rows/n), s.bytes / n} }

// sizeOf is the size of records.
func sizeOf(records []*kgo.Record) (size blockSize) {
	for _, record := range records {
		size.bytes += recordBytes(record)
	}
	size.rows = len(records)
	return size
}

func recordBytes(r *kgo.Record) int { return len(r.Key) + len(r.Value) }

// fills reports whether a block of at most so much would be full.
func (s blockSize) fills(most blockSize) bool { return s.rows >= most.rows || s.bytes >= most.bytes }

// dayOf is the day that a record is stored on. Blocks never span two, so that
// a block is one part in the ledger, which is partitioned by their months.
func dayOf(kafkaTime time.Time) time.Time {
	return schemas.StepDay.Floor(kafkaTime)
}

// cutBlock forms the next block from records that follow one another and begin
// at or after next, the offset where the ledger ends. It takes what fits, and stops
// where the day changes; rest are the records that it did not take. Offsets that
// Kafka skipped become gaps, so that the rows of a partition are an unbroken run.
// records must not be empty.
func cutBlock(next int64, records []*kgo.Record, most blockSize) (b block, rest []*kgo.Record) {
	b = block{lo: next, hi: next, day: dayOf(records[0].Timestamp)}
	dayEnd := b.day.Add(time.Duration(schemas.StepDay))
	b.rows = make([]row, 0, min(records[len(records)-1].Offset+1-next, int64(most.rows)))
	bytes := 0
	for i, record := range records {
		if record.Timestamp.Before(b.day) || !record.Timestamp.Before(dayEnd) {
			return b, records[i:]
		}
		for b.hi < record.Offset {
			if len(b.rows) == most.rows {
				return b, records[i:]
			}
			b.rows = append(b.rows, row{offset: b.hi, kafkaTime: record.Timestamp, outcome: schemas.OutcomeGap})
			b.hi++
		}
		// A record that is larger than a block may be is one of its own.
		if bytes += recordBytes(record); len(b.rows) == most.rows || bytes > most.bytes && len(b.rows) > 0 {
			return b, records[i:]
		}
		r := row{offset: record.Offset, kafkaTime: record.Timestamp, record: record}
		if record.Attrs.IsControl() {
			r.outcome, r.record = schemas.OutcomeGap, nil
		}
		b.rows = append(b.rows, r)
		b.hi++
	}
	return b, nil
}

// columns holds the columns of append_block.sql's input, reused from block to
// block.
type columns struct {
	offset       proto.ColInt64
	kafkaTime    proto.ColDateTime64
	eventID      proto.ColStr
	outcome      proto.ColInt8
	workspace    dictionary
	agent        dictionary
	conversation proto.ColStr
	model        dictionary
	channel      dictionary
	occurredAt   proto.ColDateTime64
	credits      proto.ColInt64
	messages     proto.ColInt64
	reason       proto.ColStr
	refersTo     proto.ColStr
	detail       dictionary

	input proto.Input
}

func newColumns() *columns {
	c := &columns{}
	c.kafkaTime.WithPrecision(proto.PrecisionMilli).WithLocation(time.UTC)
	c.occurredAt.WithPrecision(proto.PrecisionMicro).WithLocation(time.UTC)
	c.input = proto.Input{
		{Name: "offset", Data: &c.offset},
		{Name: "kafka_time", Data: &c.kafkaTime},
		{Name: "event_id", Data: &c.eventID},
		{Name: "outcome", Data: &c.outcome},
		{Name: "workspace", Data: &c.workspace},
		{Name: "agent", Data: &c.agent},
		{Name: "conversation", Data: &c.conversation},
		{Name: "model", Data: &c.model},
		{Name: "channel", Data: &c.channel},
		{Name: "occurred_at", Data: &c.occurredAt},
		{Name: "credits", Data: &c.credits},
		{Name: "messages", Data: &c.messages},
		{Name: "reason", Data: &c.reason},
		{Name: "refers_to", Data: &c.refersTo},
		{Name: "detail", Data: &c.detail},
	}
	return c
}

// encode appends the block to into, in ClickHouse's Native format.
func (c *columns) encode(into []byte, b *block) ([]byte, error) {
	c.fill(b)
	encoded, err := clickhouse.EncodeBlock(into, len(b.rows), c.input)
	if err != nil {
		return nil, fmt.Errorf("block [%d, %d): %w", b.lo, b.hi, err)
	}
	return encoded, nil
}

// fill has the block's rows in the columns. Only counted rows and adjustments have the credits and messages of
// their events; duplicates and the like have 0 of both. A Playground row keeps its messages, which are in no figure
// of usage: the page says how many were not counted.
func (c *columns) fill(b *block) {
	c.input.Reset()
	for i := range b.rows {
		r := &b.rows[i]
		e := &r.event
		c.offset.Append(r.offset)
		c.kafkaTime.Append(r.kafkaTime)
		c.eventID.Append(e.ID)
		c.outcome.Append(int8(r.outcome))
		c.workspace.Append(string(e.Workspace))
		c.agent.Append(string(e.Agent))
		c.conversation.Append(e.Conversation)
		c.model.Append(e.Model)
		c.channel.Append(e.Channel)
		occurredAt := e.OccurredAt
		if occurredAt.IsZero() {
			occurredAt = schemas.MinOccurredAt
		}
		c.occurredAt.Append(occurredAt)
		var credits schemas.Credits
		var messages int64
		switch r.outcome {
		case schemas.OutcomeCounted, schemas.OutcomeAdjustment:
			credits, messages = e.Credits, e.Messages
		case schemas.OutcomePlayground:
			messages = e.Messages
		default: // neither
		}
		c.credits.Append(int64(credits))
		c.messages.Append(messages)
		var reason, refersTo string
		if e.Adjustment != nil {
			reason, refersTo = e.Adjustment.Reason, e.Adjustment.EventID
		}
		c.reason.Append(reason)
		c.refersTo.Append(refersTo)
		c.detail.Append(r.detail)
	}
}
