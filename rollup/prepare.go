package rollup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/fault"
	"agentmeter/internal/kafka"
	"agentmeter/internal/pause"
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
	turns      turns
	decoder    schemas.EventDecoder

	pending []*kgo.Record // fetched, in no block yet
	before  *blockIDs     // of the block that was prepared last
	next    int64         // where the next block begins

	appending appending // the block before, while the next is prepared
}

// prepare waits for records and prepares the next block.
func (p *preparer) prepare(ctx context.Context) (_ *preparedBlock, err error) {
	b := &preparedBlock{}
	if b.block, b.endTurn, err = p.cut(ctx); err != nil {
		return nil, err
	}
	fault.Point(fault.BlockCut)
	b.encoded = encodingsPool.Get().(*[]byte)
	if err := p.decide(ctx, b, p.before); err != nil {
		b.endTurn()
		return nil, err
	}
	return b, nil
}

// cut waits for the records of the next block, and for a turn if they are many.
func (p *preparer) cut(ctx context.Context) (b block, endTurn func(), err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop() // which ends the window, too
	// There is one for the block, turn or not; fill opens it with the first record.
	window := sync.OnceValue(func() context.Context {
		window, _ := p.window(ctx)
		return window
	})

	whole := blockSize{p.config.MaxBlockRows, maxBlockBytes}
	small := whole.part(smallShare)
	most, endTurn := small, func() {}
	full, err := p.fill(ctx, window, small)
	if full {
		if turn, ok := p.turns.take(ctx); ok {
			most, endTurn = whole, turn
			_, err = p.fill(ctx, window, whole)
		}
	}
	if err != nil {
		endTurn()
		return block{}, nil, err
	}
	b, p.pending = cutBlock(p.next, p.pending, most)
	p.next = b.hi
	return b, endTurn, nil
}

// fill waits until there is a record, then for more until there are enough for a
// block, which it reports, or the window has closed.
func (p *preparer) fill(ctx context.Context, window func() context.Context, most blockSize) (full bool, err error) {
	size := sizeOf(p.pending)
	for closed := false; !closed && !size.fills(most); {
		poll := ctx
		if len(p.pending) > 0 {
			poll = window()
		}
		fetches := p.consumer.PollRecords(poll, most.rows-size.rows)
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		for _, e := range fetches.Errors() {
			if tooLarge := new(kgo.ErrDecompressTooLarge); errors.As(e.Err, &tooLarge) {
				return false, tooLargeBatch(tooLarge)
			}
			if !errors.Is(e.Err, context.DeadlineExceeded) && !errors.Is(e.Err, context.Canceled) {
				return false, fmt.Errorf("fetch: %w", e.Err) // taking over again decides what it means
			}
		}
		if halt := p.foreign(fetches); halt != nil {
			return false, halt
		}
		records := fetches.Records()
		p.pending = append(p.pending, records...)
		more := sizeOf(records)
		size = blockSize{size.rows + more.rows, size.bytes + more.bytes}
		closed = poll.Err() != nil
	}
	return size.fills(most), nil
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
	return b.encode()
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

// preparedBlock is a block of which everything is decided.
type preparedBlock struct {
	block
	encoded *[]byte
	endTurn func()
}

// What encoding a block takes, to be used again: the columns until it is encoded, the
// encoding until it is in the ledger.
var (
	columnsPool   = sync.Pool{New: func() any { return newColumns() }}
	encodingsPool = sync.Pool{New: func() any { return new([]byte) }}
)

func (b *preparedBlock) encode() (err error) {
	columns := columnsPool.Get().(*columns)
	defer columnsPool.Put(columns)
	*b.encoded, err = columns.encode((*b.encoded)[:0], &b.block)
	return err
}

// letGo forgets what the rows came from: appending needs the encoding, and what is
// remembered afterwards are hashes and offsets. Much of what a rollup holds are
// blocks that are waited for.
func (b *preparedBlock) letGo() {
	for i := range b.rows {
		b.rows[i].record, b.rows[i].event = nil, schemas.Event{}
	}
}

// giveBack gives back what a block that was appended takes. Of one that was not
// the encoding may still be on its way.
func (b *preparedBlock) giveBack() {
	b.endTurn()
	encodingsPool.Put(b.encoded)
	b.encoded = nil
}

// appending is a block on its way into the ledger. The next one cannot be appended
// before, so it takes what comes meanwhile, too: blocks are larger and fewer where
// ClickHouse is busy, and no record waits in a block that was closed early.
type appending struct {
	ended  <-chan struct{} // nil if there is no such block
	almost time.Time       // when it is time to prepare the next, going by the block before
}

const (
	// preparingShare of the time that an append takes is left for preparing the next block.
	preparingShare = 4
	// longestAppend is what a block is expected to take at most.
	longestAppend = 2 * time.Second
)

// expect notes a block that is about to be appended; done has to be called when it has
// been. The one before it took so long.
func (p *preparer) expect(took time.Duration) (done func()) {
	took = min(took, longestAppend)
	p.appending.almost = time.Now().Add(took - took/preparingShare)
	ended := make(chan struct{})
	p.appending.ended = ended
	return func() { close(ended) }
}

// window is how long a block's records are waited for once there is one: as long as
// the linger says, and while the block before is being appended.
func (p *preparer) window(ctx context.Context) (context.Context, context.CancelFunc) {
	soonest := time.Now().Add(p.config.BlockLinger)
	ended, almost := p.appending.ended, p.appending.almost
	if ended == nil || !almost.After(soonest) {
		return context.WithDeadline(ctx, soonest)
	}
	window, end := context.WithDeadline(ctx, almost)
	go func() {
		select {
		case <-ended:
		case <-window.Done():
			return
		}
		if pause.For(window, time.Until(soonest)) {
			end()
		}
	}()
	return window, end
}
