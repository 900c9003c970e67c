package rollup

import (
	"context"
	"time"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
	"agentmeter/schemas"
)

// This file is what others take over of the rollups' work: an audit where none runs,
// and whoever appends to a ledger beside them.

// RepairLast reconciles the views of the last block of every partition that
// the ledger knows, as a rollup does when it takes a partition over: for an
// audit where no rollup runs, since a crash may have left that block short.
func RepairLast(ctx context.Context, client *clickhouse.Client, timeout time.Duration) error {
	known, found, err := readStream(ctx, client, kafka.TopicEvents)
	if err != nil || !found {
		return err
	}
	for partition := range known.partitions {
		l := known.ledger(client, partition, timeout)
		end, err := l.end(ctx)
		if err != nil {
			return err
		}
		if end.partial != "" || end.lo == end.hi {
			continue // the audit will tell
		}
		if _, err := l.reconcile(ctx, end.lo, end.hi); err != nil {
			return err
		}
	}
	return nil
}

// settleViews is the rule for whoever appends beside the rollups: what is in
// the ledger is in every view, and nothing else is.
func (l *ledger) settleViews(ctx context.Context, end ledgerEnd) error {
	confirmed, err := l.confirmed(ctx)
	if err != nil {
		return err
	}
	if end.position < confirmed { // it was set back, which appending would hide
		_, err = l.rebuild(ctx)
		return err
	}
	if end.lo < end.hi {
		_, err = l.reconcile(ctx, end.lo, end.hi)
		return err
	}
	return nil
}

// gapBlock stands for offsets from the ledger's end to hi, of which no record
// was read. Its rows have the time of what was counted last: a later one would
// claim that everything before it is counted.
func gapBlock(end ledgerEnd, hi int64, detail string) block {
	at := end.lastTime
	if at.IsZero() {
		at = time.Unix(0, 0).UTC()
	}
	b := block{lo: end.position, hi: hi, day: dayOf(time.Now()), rows: make([]row, hi-end.position)}
	for i := range b.rows {
		b.rows[i] = row{offset: end.position + int64(i), kafkaTime: at, outcome: schemas.OutcomeGap, detail: detail}
	}
	return b
}
