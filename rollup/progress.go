package rollup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/fault"
	"agentmeter/internal/kafka"
	"agentmeter/internal/pause"
)

// watermark turns "the log ended there at that time" into "everything
// acknowledged before that time is counted". It keeps a bounded number of
// samples; when full, the newest is dropped, so that the oldest open promise
// is kept first.
type watermark struct {
	samples        []logSample
	position       int64 // as it was last observed
	countedThrough time.Time
}

type logSample struct {
	at  time.Time
	end int64
}

const maxLogSamples = 256

// observe records that at time at the log ended at end, and that everything
// below position is confirmed.
func (w *watermark) observe(at time.Time, end, position int64) {
	if position < w.position { // the ledger was set back, and every promise with it
		w.samples, w.countedThrough = w.samples[:0], time.Time{}
	}
	w.position = position
	if end <= position { // caught up: every earlier promise is kept, too
		w.samples = w.samples[:0]
		if at.After(w.countedThrough) {
			w.countedThrough = at
		}
		return
	}
	if len(w.samples) < maxLogSamples {
		w.samples = append(w.samples, logSample{at, end})
	}
	reached := 0
	for _, sample := range w.samples {
		if sample.end > position {
			break
		}
		if sample.at.After(w.countedThrough) {
			w.countedThrough = sample.at
		}
		reached++
	}
	w.samples = append(w.samples[:0], w.samples[reached:]...)
}

var (
	progressSQL    = parseSQL("progress.sql")
	insertProgress = renderSQL(progressSQL, "insert", nil)
	selectLogEnds  = renderSQL(progressSQL, "log_ends", nil)
)

// progressColumns are the columns of insertProgress. They are written down since
// progress is published all the time, and asking for them is a statement more each
// time: half of all where nothing comes in.
var progressColumns = []clickhouse.Column{
	{Name: "stream", Type: "UUID"},
	{Name: "partition", Type: "Int32"},
	{Name: "partitions", Type: "Int32"},
	{Name: "position", Type: "Int64"},
	{Name: "log_end", Type: "Int64"},
	{Name: "counted_through", Type: "DateTime64(3, 'UTC')"},
	{Name: "halted", Type: "String"},
	{Name: "halted_from", Type: "DateTime64(3, 'UTC')"},
	{Name: "updated_at", Type: "DateTime64(3, 'UTC')"},
}

// publisher writes how far each owned partition has been counted. It is used
// by one goroutine.
type publisher struct {
	*Rollup
	marks     map[int32]*watermark
	ends      map[int32]int64 // where each log was last seen to end
	labels    map[int32]bool  // partitions that gauges speak of
	retention time.Time       // when it was last asked for
}

// retentionEvery lies between two questions for how long Kafka keeps events.
const retentionEvery = 5 * time.Minute

// publishAtMost is how soon after a publication the next one may be: what is
// counted is not seen before it is published, and each is a part in ClickHouse.
const publishAtMost = 200 * time.Millisecond

// publishProgress samples the log's ends and writes, for each owned partition,
// how far it has been counted, until ctx ends: soon after it was taken over or a
// block was counted, and every interval where nothing moves. A failure is retried
// with the next: progress that is not published only makes figures look older.
//
// It also notices that the topic has become another one, and that somebody has
// adopted it. work is the context of the workers.
func (r *Rollup) publishProgress(ctx, work context.Context) {
	due := time.NewTimer(r.config.ProgressInterval)
	defer due.Stop()
	began := time.Now() // the last publication
	p := &publisher{Rollup: r, marks: make(map[int32]*watermark), ends: make(map[int32]int64), labels: make(map[int32]bool)}
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-due.C:
		case <-r.moved:
			pause.For(ctx, publishAtMost-time.Since(began))
		}
		began = time.Now()
		err := p.once(ctx, work)
		due.Reset(r.config.ProgressInterval)
		if err != nil && ctx.Err() == nil && !failing {
			r.log.WarnContext(ctx, "progress not published; figures will look older than they are", "error", err)
		}
		failing = err != nil
	}
}

func (p *publisher) once(ctx, work context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	stream, foreign, err := p.watchTopic(ctx, work)
	owned := p.ownedPartitions()
	p.forget(owned) // whose they are is known without Kafka, too
	if err != nil {
		return err
	}
	p.metrics.partitions.Set(float64(stream.partitions))
	p.metrics.adopted.Set(float64(stream.at.UnixMilli()) / 1e3)
	if len(owned) == 0 {
		return nil
	}
	p.askRetention(ctx)
	// The time is taken before the ends: what was acknowledged before it lies
	// below them.
	at := time.Now().UTC()
	seen := make(map[int32]int64)
	if !foreign {
		if seen, err = kafka.LogEnds(ctx, p.admin, kafka.TopicEvents); len(seen) == 0 && err != nil {
			return err
		}
		live, err := kafka.DescribeStream(ctx, p.admin, kafka.TopicEvents)
		if err != nil {
			return err
		}
		if live.ID != stream.id {
			return nil // the ends are another topic's; the next tick deals with it
		}
	}
	maps.Copy(p.ends, seen)
	for partition, worker := range owned { // before ClickHouse is asked: it may be what holds it up
		if end, ok := seen[partition]; ok {
			if position := worker.state().position; position >= 0 {
				p.metrics.lagRecords.WithLabelValues(worker.label()).Set(float64(end - position))
			}
		}
	}
	return p.publish(ctx, stream, owned, seen, at)
}

// watchTopic makes sure that the topic is the stream that is counted. Where it
// is another one, it halts every partition, until the topic comes back or
// somebody adopts what is there.
func (p *publisher) watchTopic(ctx, work context.Context) (stream adopted, foreign bool, err error) {
	live, err := kafka.DescribeStream(ctx, p.admin, kafka.TopicEvents)
	if err != nil {
		return adopted{}, false, err
	}
	stream, foreign = p.adoptedStream()
	if live.ID == stream.id && live.Partitions == stream.partitions {
		if foreign {
			p.switchTo(work, stream) // it was put back
		}
		return stream, false, nil
	}
	latest, found, err := readStream(ctx, p.clickhouse, kafka.TopicEvents)
	if err != nil {
		return stream, true, err
	}
	if found && latest.id == live.ID && latest.partitions == live.Partitions {
		clear(p.marks) // they are of other offsets
		clear(p.ends)
		p.switchTo(work, latest)
		return latest, false, nil
	}
	// What is in that log is not what the ledger is of: count nothing of it and
	// claim nothing.
	p.haltAll(ctx, foreignTopic(live, stream.id, stream.partitions))
	return stream, true, nil
}

// forget drops what is known of partitions that are another's now.
func (p *publisher) forget(owned map[int32]*eventPartition) {
	p.metrics.owned.Set(float64(len(owned)))
	for partition := range p.labels {
		if _, ok := owned[partition]; !ok {
			delete(p.labels, partition)
			delete(p.marks, partition)
			p.metrics.lagRecords.DeleteLabelValues(fmt.Sprint(partition))
			p.metrics.halted.DeleteLabelValues(fmt.Sprint(partition))
			p.metrics.through.DeleteLabelValues(fmt.Sprint(partition))
		}
	}
	for partition := range owned {
		p.labels[partition] = true
		p.metrics.halted.WithLabelValues(fmt.Sprint(partition)) // 0 until it is known otherwise
	}
}

// askRetention exports now and then for how long Kafka keeps events. Where it
// does not say, alerts go by the default.
func (p *publisher) askRetention(ctx context.Context) {
	if time.Since(p.retention) < retentionEvery {
		return
	}
	p.retention = time.Now()
	retention, err := kafka.EventRetention(ctx, p.admin)
	if err != nil {
		p.log.DebugContext(ctx, "Kafka does not say for how long it keeps events", "error", err)
		return
	}
	p.metrics.retention.WithLabelValues().Set(retention.Seconds())
}

// publish writes a row for each owned partition of which something is known, to
// where it is counted: seen are the log's ends as of at.
func (p *publisher) publish(ctx context.Context, stream adopted, owned map[int32]*eventPartition, seen map[int32]int64, at time.Time) error {
	var faults []error
	servers := make(map[*clickhouse.Client]map[int32]*eventPartition)
	for partition, worker := range owned {
		server, err := p.clickhouse.At(ctx, *worker.ledger.place())
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if servers[server] == nil {
			servers[server] = make(map[int32]*eventPartition)
		}
		servers[server][partition] = worker
	}
	for server, counted := range servers {
		faults = append(faults, p.publishAt(ctx, server, stream, counted, seen, at))
	}
	return errors.Join(faults...)
}

func (p *publisher) publishAt(ctx context.Context, server *clickhouse.Client, stream adopted, owned map[int32]*eventPartition, seen map[int32]int64, at time.Time) error {
	batch, err := server.Conn().PrepareBatch(clickhouse.WithColumns(ctx, progressColumns), insertProgress)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	sent := make(map[int32]progress)
	for partition, worker := range owned {
		reached, known, err := p.progressOf(ctx, worker, seen, at)
		if err != nil {
			return errors.Join(err, batch.Abort())
		}
		if !known || partition >= stream.partitions {
			continue // its figures get older
		}
		if err := batch.Append(stream.id, partition, stream.partitions, reached.position, reached.logEnd,
			reached.countedThrough, reached.halted, reached.haltedFrom, at); err != nil {
			return errors.Join(fmt.Errorf("append: %w", err), batch.Abort())
		}
		sent[partition] = reached
	}
	if len(sent) == 0 {
		return batch.Abort()
	}
	fault.Point(fault.ProgressBefore)
	if err := batch.Send(); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	fault.Point(fault.ProgressAfter)
	now := time.Now()
	for partition, reached := range sent {
		worker := owned[partition]
		if reached.countedThrough.Unix() > 0 { // otherwise nothing is known
			p.metrics.through.WithLabelValues(worker.label()).Set(float64(reached.countedThrough.UnixMicro()) / 1e6)
		}
		for _, stored := range worker.published(reached.position, reached.countedThrough) {
			p.metrics.visible.Observe(max(now.Sub(stored.at), 0).Seconds()) // the broker's clock may run ahead
		}
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// progress is what is published of a partition.
type progress struct {
	position, logEnd int64
	countedThrough   time.Time
	halted           string
	haltedFrom       time.Time // everything acknowledged before is counted, for certain
}

// progressOf says how far a partition is counted, if that is known.
func (p *publisher) progressOf(ctx context.Context, worker *eventPartition, seen map[int32]int64, at time.Time) (reached progress, known bool, err error) {
	partition, state := worker.ledger.partition, worker.state()
	reached = progress{position: state.position, logEnd: p.ends[partition], halted: state.halted, haltedFrom: time.Unix(0, 0).UTC()}
	end, ok := seen[partition]
	if state.halted == "" && (!ok || state.position < 0) {
		return reached, false, nil
	}
	if reached.position < 0 { // it stands still since the start; what is published must not forget how far it was
		if reached.position, err = worker.ledger.confirmed(ctx); err != nil {
			return reached, false, err
		}
	}
	if _, ok := p.ends[partition]; !ok {
		reached.logEnd = reached.position
	}
	mark := p.marks[partition]
	if mark == nil {
		mark = &watermark{}
		p.marks[partition] = mark
	}
	if state.halted == "" {
		mark.observe(at, end, state.position)
	} else if !state.lastTime.IsZero() {
		reached.haltedFrom = state.lastTime
	}
	// Behind since the start, the last confirmed record's time is the most that
	// can be said.
	if state.lastTime.After(mark.countedThrough) {
		mark.countedThrough = state.lastTime
	}
	switch {
	case !mark.countedThrough.IsZero():
		reached.countedThrough = earlier(mark.countedThrough, at) // a broker's clock may run ahead
	case state.halted == "":
		return reached, false, nil
	default:
		reached.countedThrough = reached.haltedFrom
	}
	return reached, true, nil
}
