package rollup

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/fault"
	"agentmeter/internal/kafka"
	"agentmeter/schemas"
)

// preparer makes blocks of what a partition's consumer fetches, ready to be
// appended: cut, decoded, each row with its outcome, encoded. It works one block
// ahead: while one is being appended it prepares the next, taking for granted
// that the first will be confirmed. Where that turns out to be uncertain the
// next is decided anew (redecide); where it fails the session ends and what was
// prepared with it. So preparing ahead never decides what is counted, only when
// the work is done: the append's condition is what holds the blocks together.
//
// A preparer is used by one goroutine at a time.
type preparer struct {
	stream     uuid.UUID
	partition  int32
	partitions int32 // of the topic
	config     Config
	consumer   *kgo.Client
	ids        *knownIDs
	decoder    schemas.EventDecoder

	pending []*kgo.Record // fetched, in no block yet
	before  *blockIDs     // of the block that was prepared last
	next    int64         // where the next block begins
	// Two, since a block's encoding is read for as long as it is being appended.
	columns [2]*columns
	turn    int
}

// preparedBlock is a block of which everything is decided.
type preparedBlock struct {
	block
	columns *columns
	encoded []byte
}

// prepare waits for records and prepares the next block. Its encoding is valid
// until the call after the next.
func (p *preparer) prepare(ctx context.Context) (*preparedBlock, error) {
	if err := p.fill(ctx); err != nil {
		return nil, err
	}
	next := &preparedBlock{columns: p.columns[p.turn]}
	next.block, p.pending = cutBlock(p.next, p.pending, p.config.MaxBlockRows)
	fault.Point(fault.BlockCut)
	if err := p.decide(ctx, next, p.before); err != nil {
		return nil, err
	}
	p.next = next.hi
	p.turn = 1 - p.turn
	return next, nil
}

// redecide decides the rows of the block that was prepared last anew, from the
// ledger: it is not certain that the block before it recorded what it was
// thought to record.
func (p *preparer) redecide(ctx context.Context, b *preparedBlock) error {
	for i := range b.rows {
		if r := &b.rows[i]; r.record != nil {
			*r = row{offset: r.offset, kafkaTime: r.kafkaTime, record: r.record}
		}
	}
	return p.decide(ctx, b, nil)
}

// decide gives each row of the block its outcome and encodes the block. before
// is of the block before it, if that may not be in the ledger yet.
func (p *preparer) decide(ctx context.Context, b *preparedBlock, before *blockIDs) error {
	decode(b.rows, &p.decoder, p.partition, p.partitions)
	known, err := p.ids.lookUp(ctx, &b.block, before)
	if err != nil {
		if errors.Is(err, errInconsistentIDs) {
			return &haltError{err.Error()} // no try of ours mends it
		}
		return err
	}
	fault.Point(fault.BlockLookedUp)
	classify(b.rows, known)
	p.before = &blockIDs{lo: b.lo, payloads: known}
	b.encoded, err = b.columns.encode(&b.block)
	return err
}

// fill waits until there is a record, then for more until the block is full or
// has waited long enough.
func (p *preparer) fill(ctx context.Context) error {
	var deadline context.Context
	var cancel context.CancelFunc
	for len(p.pending) < p.config.MaxBlockRows {
		poll := ctx
		if len(p.pending) > 0 {
			if deadline == nil {
				deadline, cancel = context.WithTimeout(ctx, p.config.BlockLinger)
				defer cancel()
			}
			poll = deadline
		}
		fetches := p.consumer.PollRecords(poll, p.config.MaxBlockRows-len(p.pending))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.DeadlineExceeded) && !errors.Is(e.Err, context.Canceled) {
				return fmt.Errorf("fetch: %w", e.Err) // taking over again decides what it means
			}
		}
		if halt := p.foreign(fetches); halt != nil {
			return halt
		}
		p.pending = append(p.pending, fetches.Records()...)
		if deadline != nil && deadline.Err() != nil {
			break
		}
	}
	return nil
}

// foreign is a halt where the records are of another topic than the ledger's:
// one of the same name, made anew since the partition was taken over, whose
// offsets would seem to go on from here.
func (p *preparer) foreign(fetches kgo.Fetches) (halt error) {
	fetches.EachTopic(func(topic kgo.FetchTopic) {
		if id := uuid.UUID(topic.TopicID); id != uuid.Nil && id != p.stream {
			halt = foreignTopic(kafka.Stream{ID: id, Topic: topic.Topic, Partitions: p.partitions}, p.stream, p.partitions)
		}
	})
	return halt
}
