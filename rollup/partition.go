package rollup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/fault"
	"agentmeter/internal/kafka"
	"agentmeter/internal/pause"
	"agentmeter/internal/tracing"
)

// eventPartition counts one partition of the events topic for as long as this
// process owns it. Its run method is its only writer.
type eventPartition struct {
	config     Config
	log        *slog.Logger
	metrics    *metrics
	ledger     *ledger
	partitions int32 // of the topic
	consumer   []kgo.Opt
	admin      *kadm.Client
	producer   *kgo.Client
	ids        *knownIDs
	idLoads    chan struct{} // see knownIDs
	moved      chan struct{} // see Rollup
	turns      turns
	// settled is where the ledger ended when this worker last saw it in every
	// view: that block needs no reconcile again.
	settled int64
	since   time.Time // when this worker began

	mu sync.Mutex // guards st
	st partitionState
}

// errStale means that somebody else has appended to the ledger of this
// partition: what is in hand is void, and the partition starts over from the
// ledger's new end.
var errStale = errors.New("the ledger has moved on")

// Waits between tries after errors.
const (
	firstRetry  = 100 * time.Millisecond
	maxRetry    = 5 * time.Second
	haltedRetry = 2 * time.Second
)

// run counts the partition until ctx ends: from the ledger's end, again and
// again, since any doubt ends a session and starts the next from what the
// ledger says.
func (p *eventPartition) run(ctx context.Context) {
	wait := firstRetry
	for ctx.Err() == nil {
		progressed, err := p.session(ctx)
		var halt *haltError
		switch {
		case ctx.Err() != nil:
			return
		case errors.As(err, &halt):
			p.halt(ctx, halt)
			// What made going on a guess may be mended; nothing but that helps.
			pause.For(ctx, haltedRetry)
			wait = firstRetry
			continue
		case errors.Is(err, errStale):
			p.metrics.stale.Inc()
			p.log.WarnContext(ctx, "another consumer has appended; starting over from the ledger's end")
			wait = firstRetry
			continue
		}
		if progressed {
			wait = firstRetry
		}
		p.metrics.sessionErrors.Inc()
		p.log.WarnContext(ctx, "counting interrupted; trying again", "error", err, "wait", wait)
		pause.For(ctx, wait)
		wait = min(2*wait, maxRetry)
	}
}

// halt says that the partition stands still, and why.
func (p *eventPartition) halt(ctx context.Context, halt *haltError) {
	if p.state().halted == halt.reason {
		return // said before
	}
	p.log.ErrorContext(ctx, "partition halted; docs/counting.md says what to do", "reason", halt.reason)
	p.setState(func(s *partitionState) { s.halted = halt.reason })
	p.metrics.halted.WithLabelValues(p.label()).Set(1)
}

func (p *eventPartition) label() string { return fmt.Sprint(p.ledger.partition) }

// session takes the partition over at the ledger's end and counts until an
// error. progressed says whether a block was confirmed.
func (p *eventPartition) session(ctx context.Context) (progressed bool, err error) {
	end, err := p.takeOver(ctx)
	if err != nil {
		if !end.firstTime.IsZero() {
			// The last block may not be in every view: what came before it is.
			p.setState(func(s *partitionState) { s.lastTime = end.firstTime })
		}
		return false, err
	}
	p.ids = newKnownIDs(ctx, p.ledger.findRecorded, ledgerIDs{p.ledger}, idOptions{
		bound: p.config.HotIDs, loadTurn: p.idLoads, log: p.log, metrics: p.metrics.ids(p.label()),
	})
	defer p.ids.close()
	p.setState(func(s *partitionState) { s.position, s.lastTime, s.halted = end.position, end.lastTime, "" })
	p.tellPublisher()
	p.metrics.halted.WithLabelValues(p.label()).Set(0)

	consumer, err := kgo.NewClient(append(p.consumer,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
			kafka.TopicEvents: {p.ledger.partition: kgo.NewOffset().At(end.position)},
		}))...)
	if err != nil {
		return false, fmt.Errorf("consume: %w", err)
	}
	defer consumer.Close()
	return p.countBlocks(ctx, &preparer{
		stream: p.ledger.stream, partition: p.ledger.partition, partitions: p.partitions, config: p.config,
		consumer: consumer, ids: p.ids, next: end.position, turns: p.turns,
	})
}

// countBlocks counts one block after the other until an error; while one is being
// appended, the next is prepared.
func (p *eventPartition) countBlocks(ctx context.Context, blocks *preparer) (progressed bool, err error) {
	finish, finished := p.finishing(ctx)
	defer finished()
	type prepared struct {
		*preparedBlock
		err error
	}
	next := make(chan prepared, 1)
	ahead, stop := context.WithCancel(ctx)
	defer stop()
	prepareNext := func() {
		go func() {
			b, err := blocks.prepare(ahead)
			next <- prepared{b, err}
		}()
	}
	prepareNext()
	// Of the block before: how long it took, and whether it is certain what it recorded.
	took, certain := time.Duration(0), true
	for {
		b := <-next
		if b.err != nil {
			return progressed, b.err
		}
		if !certain {
			err = blocks.redecide(ctx, b.preparedBlock)
		}
		if err == nil {
			err = context.Cause(ctx) // what is prepared is the next owner's
		}
		if err != nil {
			b.endTurn()
			return progressed, err
		}
		appended := blocks.expect(took)
		prepareNext()
		began := time.Now()
		certain, err = p.count(finish, b.preparedBlock)
		took = time.Since(began)
		appended()
		if err != nil {
			b.endTurn()
			stop()
			if behind := <-next; behind.err == nil {
				behind.endTurn()
			}
			return progressed, err
		}
		b.giveBack()
		progressed = true
	}
}

// finishing is for a block under way: when ctx ends, it is given the drain's time.
func (p *eventPartition) finishing(ctx context.Context) (finish context.Context, end func()) {
	finish, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(p.config.DrainTimeout, func() { cancel(context.Cause(ctx)) })
		context.AfterFunc(finish, func() { timer.Stop() })
	})
	return finish, func() {
		stop()
		cancel(nil)
	}
}

// takeOver reads where the ledger ends, repairs the views of its last block,
// and makes sure that Kafka's log still joins on.
func (p *eventPartition) takeOver(ctx context.Context) (ledgerEnd, error) {
	started := time.Now()
	fault.Point(fault.TakeOverBegin)
	if p.ledger.partition >= p.partitions {
		return ledgerEnd{}, fmt.Errorf("the topic that was adopted has partitions 0 to %d; the group will take this one away", p.partitions-1)
	}
	confirmed, err := p.ledger.confirmed(ctx)
	var scattered *clickhouse.ScatteredError
	if errors.As(err, &scattered) {
		return ledgerEnd{}, &haltError{scattered.Error()}
	}
	if err != nil {
		return ledgerEnd{}, err
	}
	// This process may know more than it has published.
	confirmed = max(confirmed, p.state().position)
	end, err := p.ledger.end(ctx)
	if err != nil {
		return end, err
	}
	fault.Point(fault.TakeOverEndRead)
	setBack := end.position < confirmed
	switch {
	case end.partial != "":
		return end, partialBlock(end)
	case end.lastDetail == codeClosed:
		return end, closedLedger()
	case weakened(fault.StoredOffset, fault.NoReconcile, fault.TrustedTokens):
		if end, err = p.resumeWeakened(ctx, end); err != nil {
			return end, err
		}
		setBack = false
	case !setBack && end.lo < end.hi && end.hi != p.settled:
		if err := p.reconcile(ctx, end.lo, end.hi); err != nil {
			return end, err
		}
		p.settled = end.hi
	}
	if err := p.checkStream(ctx); err != nil {
		return end, err
	}
	begin, logEnd, err := p.logBounds(ctx)
	if err != nil {
		return end, err
	}
	if begin > end.position {
		return end, logBeginsAbove(end, p.ledger.partition, begin)
	}
	if logEnd < end.position {
		return end, logEndsBelow(end, logEnd)
	}
	if setBack { // only now, when what the views lose is sure to come again
		if err := p.repairSetBack(ctx, end, confirmed); err != nil {
			return end, err
		}
	}
	fault.Point(fault.TakeOverDone)
	p.metrics.takeOver.Observe(time.Since(started).Seconds())
	p.log.InfoContext(ctx, "partition taken over", "position", end.position, "log_end", logEnd)
	return end, nil
}

// repairSetBack joins the views to a ledger that was set back, by a backup or by
// a machine that lost power: they know records that are about to be counted
// again.
func (p *eventPartition) repairSetBack(ctx context.Context, end ledgerEnd, confirmed int64) error {
	p.metrics.setBacks.Inc()
	p.log.WarnContext(ctx, "the ledger was set back; making its views equal to it before counting again what it lost",
		"end", end.position, "confirmed", confirmed)
	fault.Point(fault.RepairSetBack)
	report, err := p.ledger.rebuild(ctx)
	if err != nil {
		return err
	}
	for table, repaired := range report.Repaired {
		if repaired.Buckets > 0 {
			p.metrics.repaired.Add(float64(repaired.Buckets))
			p.log.WarnContext(ctx, "view repaired", "table", table, "buckets", repaired.Buckets, "credits", repaired.Credits, "events", repaired.Events)
		}
	}
	return nil
}

// checkStream makes sure that the topic is the one that the ledger is of.
func (p *eventPartition) checkStream(ctx context.Context) error {
	live, err := kafka.DescribeStream(ctx, p.admin, kafka.TopicEvents)
	if err != nil {
		return err
	}
	if live.ID != p.ledger.stream || live.Partitions != p.partitions {
		return foreignTopic(live, p.ledger.stream, p.partitions)
	}
	return nil
}

func (p *eventPartition) logBounds(ctx context.Context) (begin, end int64, err error) {
	begins, beginErr := kafka.LogStarts(ctx, p.admin, kafka.TopicEvents)
	ends, endErr := kafka.LogEnds(ctx, p.admin, kafka.TopicEvents)
	begin, okBegin := begins[p.ledger.partition]
	end, okEnd := ends[p.ledger.partition]
	if !okBegin || !okEnd {
		return 0, 0, fmt.Errorf("partition %d's log bounds were not answered: %w", p.ledger.partition, errors.Join(beginErr, endErr))
	}
	return begin, end, nil
}

// count appends a block, its dead letters sent before it, and returns only when
// it is confirmed, views included. certain is appendBlock's.
func (p *eventPartition) count(ctx context.Context, b *preparedBlock) (certain bool, err error) {
	ctx, end := p.traced(ctx, b)
	defer func() { end(err) }()
	started := time.Now()
	p.setState(func(s *partitionState) { s.appending = started })
	defer p.setState(func(s *partitionState) { s.appending = time.Time{} })
	letters, err := p.sendDeadLetters(ctx, b.rows)
	if err != nil {
		return false, err
	}
	if len(letters) > 0 {
		fault.Point(fault.LettersSent)
	}
	b.letGo()
	began := time.Now()
	certain, err = p.appendBlock(ctx, &b.block, *b.encoded)
	if err != nil {
		return false, err
	}
	fault.Point(fault.BlockConfirmed)
	p.metrics.counted(b.rows, letters, time.Since(began))
	p.ids.remember(b.rows, certain)
	p.settled = b.hi
	last := b.rows[len(b.rows)-1].kafkaTime
	p.setState(func(s *partitionState) {
		s.position, s.lastTime = b.hi, last
		s.land(b.rows)
	})
	p.tellPublisher()
	return certain, nil
}

// appendBlock is the protocol of docs/counting.md: insert on condition; after
// anything but success look at the ledger's end, under the mutex, and act on
// what is there. certain says whether it is this very block that is there: one
// in doubt is known by its bounds alone, and who accepted a loss meanwhile may
// have put gaps between the same.
func (p *eventPartition) appendBlock(ctx context.Context, b *block, encoded []byte) (certain bool, err error) {
	if weakened(fault.StoredOffset, fault.TrustedTokens) {
		return true, p.appendWeakened(ctx, b, encoded)
	}
	wait := firstRetry
	for attempt := 1; ; attempt++ {
		fault.Point(fault.AppendBefore)
		err := p.ledger.append(ctx, b, encoded)
		fault.Point(fault.AppendAnswered)
		if err == nil {
			if attempt == 1 {
				return true, nil // it ran alone and ended, views included
			}
			// What an earlier try left in a view without its ledger rows, should
			// an engine ever do that, is found while it is the last block.
			return true, p.reconcile(ctx, b.lo, b.hi)
		}
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		p.metrics.doubts.Inc()
		fault.Point(fault.DoubtBefore)
		end, endErr := p.ledger.end(ctx)
		if endErr != nil {
			return false, errors.Join(err, endErr)
		}
		fault.Point(fault.DoubtEndRead)
		switch {
		case end.partial != "":
			return false, partialBlock(end)
		case end.lo == b.lo && end.hi == b.hi:
			// It is in the ledger; whether in every view is unknown.
			return false, p.reconcile(ctx, b.lo, b.hi)
		case end.position != b.lo:
			return false, errStale
		}
		p.log.WarnContext(ctx, "block not appended; sending it again", "lo", b.lo, "hi", b.hi, "error", err, "refused", clickhouse.Refused(err), "wait", wait)
		pause.For(ctx, wait)
		wait = min(2*wait, maxRetry)
	}
}

func (p *eventPartition) reconcile(ctx context.Context, lo, hi int64) error {
	added, err := p.ledger.reconcile(ctx, lo, hi)
	p.metrics.repaired.Add(float64(added))
	if err != nil {
		return err
	}
	p.metrics.reconciled.Inc()
	return nil
}

// traced shows the block in the traces that its records belong to.
func (p *eventPartition) traced(ctx context.Context, b *preparedBlock) (_ context.Context, end func(error)) {
	var senders tracing.Senders
	if p.config.Tracer != nil {
		for i := range b.rows {
			if record := b.rows[i].record; record != nil {
				senders.Note(record)
			}
		}
	}
	if len(senders.Spans()) == 0 {
		return ctx, func(error) {}
	}
	return tracing.Counting(ctx, p.config.Tracer, senders.Spans(),
		attribute.String("messaging.system", "kafka"), attribute.String("messaging.destination.name", kafka.TopicEvents),
		attribute.String("messaging.destination.partition.id", p.label()), attribute.Int("messaging.batch.message_count", len(b.rows)),
		attribute.Int64("agentmeter.block.lo", b.lo), attribute.Int64("agentmeter.block.hi", b.hi))
}
