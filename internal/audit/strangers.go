package audit

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"text/template"

	"github.com/google/uuid"

	"agentmeter/internal/clickhouse"
	tables "agentmeter/schemas/clickhouse"
)

var (
	scatteredTemplate = template.Must(template.New("scattered").Parse(readSQL("scattered.sql")))
	foreignTemplate   = template.Must(template.New("foreign").Parse(readSQL("foreign.sql")))
)

// tableCheck is a table of partitions, and which check its rows are of.
type tableCheck struct {
	Table  string
	Rollup *tables.Rollup // nil where it is none
	check  string
}

func partitionTables() []tableCheck {
	all := []tableCheck{{Table: tables.Ledger, check: CheckOffsets}, {Table: tables.IDs, check: CheckIDs}}
	for i := range tables.Rollups {
		all = append(all, tableCheck{tables.Rollups[i].Table, &tables.Rollups[i], CheckRollup})
	}
	return all
}

// scattered looks, on a cluster, for partitions with rows on more than one shard:
// a partition's comparison sees one shard, and every answer adds up all.
func (a *auditor) scattered(ctx context.Context) error {
	if !a.client.Sharded() {
		return nil
	}
	for _, table := range partitionTables() {
		var sql bytes.Buffer
		if err := scatteredTemplate.Execute(&sql, table); err != nil {
			return err
		}
		err := a.ask(ctx, Partition{}, question{sql: sql.String()}, func(fields []string) error {
			stream, err := uuid.Parse(fields[0])
			if err != nil {
				return fmt.Errorf("stream: %w", err)
			}
			n, err := integers(fields[1:])
			if err == nil {
				a.find(Partition{Stream: stream, Partition: int32(n[0])}, table.check, table.Table, "has rows of the partition on %d shards", n[1])
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// strangers looks for rows of streams and partitions that the ledger does not
// know: no partition's comparison sees them, and every answer adds them up.
func (a *auditor) strangers(ctx context.Context) error {
	return a.step(ctx, Partition{}, "rows of unknown streams", func(ctx context.Context) error {
		if err := a.scattered(ctx); err != nil {
			return err
		}
		for _, table := range partitionTables() {
			var sql bytes.Buffer
			if err := foreignTemplate.Execute(&sql, table); err != nil {
				return err
			}
			if err := a.settled(ctx, func() error {
				rows := map[clickhouse.Place]int64{}
				err := a.ask(ctx, Partition{}, question{sql: sql.String(), eachShard: true}, func(fields []string) error {
					stream, err := uuid.Parse(fields[0])
					if err != nil {
						return fmt.Errorf("stream: %w", err)
					}
					n, err := integers(fields[1:])
					if err == nil {
						rows[clickhouse.Place{Stream: stream, Partition: int32(n[0])}] += n[1]
					}
					return err
				})
				if err != nil {
					return err
				}
				// Read after the rows, so that a stream that was adopted
				// meanwhile is known.
				streams, err := readStreams(ctx, a.client)
				if err != nil {
					return err
				}
				for at, n := range rows {
					if !slices.ContainsFunc(streams, func(s stream) bool {
						return s.id == at.Stream && at.Partition >= 0 && at.Partition < s.partitions
					}) {
						a.find(Partition{Stream: at.Stream, Partition: at.Partition}, table.check, table.Table, "has %d rows of a partition that no known stream has", n)
					}
				}
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
}
