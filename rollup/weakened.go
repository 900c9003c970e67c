package rollup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/fault"
	"agentmeter/internal/kafka"
	"agentmeter/internal/pause"
	tables "agentmeter/schemas/clickhouse"
)

// This file is what the crash harness weakens, to show that it would notice:
// each obvious way to count that loses or doubles. In ordinary builds fault.Is
// is the constant false, and none of this is linked.

func weakened(variants ...string) bool {
	return fault.Enabled && slices.ContainsFunc(variants, fault.Is)
}

// weakenedGroup holds the offsets that StoredOffset trusts.
const weakenedGroup = "agentmeter-weakened"

// resumeWeakened is where a weakened protocol goes on.
func (p *eventPartition) resumeWeakened(ctx context.Context, end ledgerEnd) (ledgerEnd, error) {
	if fault.Is(fault.TrustedTokens) {
		for _, table := range append([]string{tables.Ledger}, RebuildTables()...) {
			sql := "ALTER TABLE " + table + " MODIFY SETTING non_replicated_deduplication_window = 10000"
			if err := p.ledger.client.Exec(ctx, clickhouse.Statement{SQL: sql}); err != nil {
				return end, err
			}
		}
	}
	if !fault.Is(fault.StoredOffset) {
		return end, nil
	}
	stored, err := p.admin.FetchOffsets(ctx, weakenedGroup)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // nothing was stored yet
		return end, fmt.Errorf("fetch offsets: %w", err)
	}
	end.position = p.ledger.start
	if offset, ok := stored.Lookup(kafka.TopicEvents, p.ledger.partition); ok && offset.Err == nil && offset.At >= 0 {
		end.position = offset.At
	}
	return end, nil
}

// appendWeakened inserts without a condition until the engine says yes.
func (p *eventPartition) appendWeakened(ctx context.Context, b *block, encoded []byte) error {
	unconditional, _, found := strings.Cut(sqlStatements.append, "WHERE throwIf(")
	if !found {
		return fmt.Errorf("the append statement has no guard to leave out")
	}
	params := p.ledger.blockParams(b.lo, b.hi)
	params["day"] = b.day.Format(time.DateOnly)
	settings := maps.Clone(appendSettings)
	if fault.Is(fault.TrustedTokens) {
		settings["insert_deduplicate"] = "1"
		settings["deduplicate_blocks_in_dependent_materialized_views"] = "1"
		settings["insert_deduplication_token"] = fmt.Sprintf("%s/%d/%d-%d", p.ledger.stream, p.ledger.partition, b.lo, b.hi)
	}
	for {
		fault.Point(fault.AppendBefore)
		attempt, cancel := context.WithTimeout(ctx, p.ledger.timeout)
		err := p.ledger.client.Exec(attempt, clickhouse.Statement{
			SQL: unconditional + "FORMAT Native", Params: params, Settings: settings, Mutex: p.ledger.mutex(), Body: encoded,
		})
		cancel()
		fault.Point(fault.AppendAnswered)
		if err == nil {
			break
		}
		p.log.WarnContext(ctx, "block not appended; sending it again", "error", err)
		if !pause.For(ctx, firstRetry) {
			return context.Cause(ctx)
		}
	}
	if !fault.Is(fault.StoredOffset) {
		return nil
	}
	offsets := make(kadm.Offsets)
	offsets.AddOffset(kafka.TopicEvents, p.ledger.partition, b.hi, -1)
	if err := p.admin.CommitAllOffsets(ctx, weakenedGroup, offsets); err != nil {
		return fmt.Errorf("store offset: %w", err)
	}
	return nil
}

// reconcileByClient reads what each view lacks and then inserts what it has
// read: between the two, others may have done the same.
func (l *ledger) reconcileByClient(ctx context.Context, repairs []repair, lo, hi int64) error {
	for _, view := range repairs {
		insert, question, found := strings.Cut(view.sql, "\nWITH ")
		if !found {
			return fmt.Errorf("reconcile of %s is not an INSERT of a WITH", view.table)
		}
		var values []string
		err := l.client.SelectText(ctx, clickhouse.Statement{
			SQL: "WITH " + question, Params: l.blockParams(lo, hi), Mutex: l.mutex(),
		}, func(fields []string) error {
			quoted := make([]string, len(fields))
			for j, field := range fields {
				quoted[j] = "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(field) + "'"
			}
			values = append(values, "("+strings.Join(quoted, ",")+")")
			return nil
		})
		if err != nil {
			return err
		}
		fault.Point(fault.ReconcileBefore)
		if len(values) > 0 {
			if err := l.client.Exec(ctx, clickhouse.Statement{SQL: insert + " VALUES " + strings.Join(values, ","), Settings: reconcileSettings, Mutex: l.mutex()}); err != nil {
				return fmt.Errorf("reconcile block [%s, %s): %w", strconv.FormatInt(lo, 10), strconv.FormatInt(hi, 10), err)
			}
		}
		fault.Point(fault.ReconcileAfter)
	}
	return nil
}
