package rollup

import (
	"context"
	"fmt"
	"time"

	"agentmeter/internal/fault"
	"agentmeter/internal/kafka"
)

// watermark turns "the log ended there at that time" into "everything
// acknowledged before that time is counted". It keeps a bounded number of
// samples; when full, the newest is dropped, so that the oldest open promise
// is kept first.
type watermark struct {
	samples        []logSample
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

const insertProgress = `INSERT INTO rollup_progress
(stream, partition, partitions, position, log_end, counted_through, halted, halted_from, updated_at) VALUES`

// publishProgress samples the log's ends and writes, for each owned partition,
// how far it has been counted, until ctx ends. A failure is retried with the
// next tick: progress that is not published only makes figures look older.
//
// It is also what notices that the topic has become another one, and that
// somebody has adopted it. work is the context of the workers.
func (r *Rollup) publishProgress(ctx, work context.Context) {
	ticker := time.NewTicker(r.config.ProgressInterval)
	defer ticker.Stop()
	watermarks := make(map[int32]*watermark)
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := r.publishOnce(ctx, work, watermarks)
		if err != nil && ctx.Err() == nil && !failing {
			r.log.WarnContext(ctx, "progress not published; figures will look older than they are", "error", err)
		}
		failing = err != nil
	}
}

func (r *Rollup) publishOnce(ctx, work context.Context, watermarks map[int32]*watermark) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	live, err := kafka.DescribeStream(ctx, r.admin, kafka.TopicEvents)
	if err != nil {
		return err
	}
	stream, foreign := r.adoptedStream()
	if foreign && live.ID == stream.id && live.Partitions == stream.partitions {
		r.switchTo(work, stream) // it was put back
		return nil
	}
	if live.ID != stream.id || live.Partitions != stream.partitions {
		latest, found, err := readStream(ctx, r.clickhouse, kafka.TopicEvents)
		switch {
		case err != nil:
			return err
		case found && latest.id == live.ID && latest.partitions == live.Partitions:
			clear(watermarks) // they are of other offsets
			r.switchTo(work, latest)
			return nil
		}
		// What is in that log is not what the ledger is of: count nothing of it
		// and claim nothing.
		r.haltAll(ctx, foreignTopic(live, stream.id, stream.partitions))
	}
	owned := r.ownedPartitions()
	r.metrics.owned.Set(float64(len(owned)))
	for partition := range watermarks {
		if _, ok := owned[partition]; !ok {
			delete(watermarks, partition)
			r.metrics.lagRecords.DeleteLabelValues(fmt.Sprint(partition))
			r.metrics.halted.DeleteLabelValues(fmt.Sprint(partition))
		}
	}
	if len(owned) == 0 {
		r.metrics.lagSeconds.Set(0)
		return nil
	}
	// The time is taken before the ends: what was acknowledged before it lies
	// below them.
	at := time.Now().UTC()
	ends, err := kafka.LogEnds(ctx, r.admin, kafka.TopicEvents)
	if len(ends) == 0 && err != nil {
		return err
	}
	batch, err := r.clickhouse.Conn().PrepareBatch(ctx, insertProgress)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	rows := 0
	oldest := at
	for partition, worker := range owned {
		state := worker.state()
		end, ok := ends[partition]
		if !ok || state.position < 0 && state.halted == "" {
			continue // nothing new is known of it, so its figures get older
		}
		mark := watermarks[partition]
		if mark == nil {
			mark = &watermark{}
			watermarks[partition] = mark
		}
		haltedFrom := time.Unix(0, 0).UTC()
		if state.halted == "" {
			mark.observe(at, end, state.position)
			r.metrics.lagRecords.WithLabelValues(fmt.Sprint(partition)).Set(float64(end - state.position))
		} else if !state.lastTime.IsZero() {
			haltedFrom = state.lastTime
		}
		if mark.countedThrough.IsZero() && state.halted == "" {
			// Behind since the start: the last confirmed record's time is the
			// most that can be said.
			if state.lastTime.IsZero() {
				continue
			}
			mark.countedThrough = state.lastTime
		} else if state.lastTime.After(mark.countedThrough) {
			mark.countedThrough = state.lastTime
		}
		countedThrough := mark.countedThrough
		if countedThrough.After(at) { // a broker's clock that runs ahead
			countedThrough = at
		}
		if countedThrough.IsZero() {
			countedThrough = haltedFrom
		}
		if countedThrough.Before(oldest) {
			oldest = countedThrough
		}
		if err := batch.Append(stream.id, partition, stream.partitions, state.position, end,
			countedThrough, state.halted, haltedFrom, at); err != nil {
			return fmt.Errorf("append: %w", err)
		}
		rows++
	}
	r.metrics.lagSeconds.Set(at.Sub(oldest).Seconds())
	if rows == 0 {
		return batch.Abort()
	}
	fault.Point(fault.ProgressBefore)
	if err := batch.Send(); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	fault.Point(fault.ProgressAfter)
	return nil
}
