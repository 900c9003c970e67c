package rollup

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/processes"
	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

// The benches of counting, for make bench. Each measures one iteration of its
// own choosing, so they run with -benchtime 1x; internal/bench knows the goals.

// benchEvents is traffic of a thousand agents of twenty workspaces: event i
// happened about i seconds/rate after the first, with ids like UUIDs.
func benchEvents(random *rand.Rand, first time.Time, span time.Duration, n int) []schemas.Event {
	events := make([]schemas.Event, n)
	for i := range events {
		var id uuid.UUID
		for j := range id {
			id[j] = byte(random.Uint32())
		}
		workspace := random.IntN(20)
		events[i] = schemas.Event{
			ID:           id.String(),
			Workspace:    schemas.WorkspaceID(fmt.Sprintf("ws_%d", workspace)),
			Agent:        schemas.AgentID(fmt.Sprintf("agt_%d_%d", workspace, random.IntN(50))),
			Conversation: fmt.Sprintf("conv_%d", i/5),
			Model:        "large",
			Channel:      "embed",
			OccurredAt:   first.Add(time.Duration(int64(span) / int64(n) * int64(i))).Truncate(time.Microsecond),
			Credits:      schemas.Credits(random.IntN(8) * 250_000),
			Messages:     1,
		}
	}
	return events
}

// rowsOf are undecided rows, without the hashes that decode computes.
func rowsOf(lo int64, events []schemas.Event) []row {
	rows := make([]row, len(events))
	for i := range events {
		rows[i] = row{offset: lo + int64(i), kafkaTime: testTime.Truncate(time.Millisecond), event: events[i], record: &kgo.Record{}}
	}
	return rows
}

func hashRows(rows []row) {
	for i := range rows {
		r := &rows[i]
		r.hash, r.payload = schemas.HashID(r.event.Workspace, r.event.ID), r.event.PayloadHash()
	}
}

// encodeWhole encodes the block with all columns of the ledger, as anybody would
// who inserts without a condition.
func encodeWhole(into []byte, columns *columns, stream uuid.UUID, partition int32, b *block) ([]byte, error) {
	columns.fill(b)
	var streams proto.ColUUID
	var partitions proto.ColInt32
	var lo, hi proto.ColInt64
	var day proto.ColDate
	for range b.rows {
		streams.Append(stream)
		partitions.Append(partition)
		lo.Append(b.lo)
		hi.Append(b.hi)
		day.Append(b.day)
	}
	return clickhouse.EncodeBlock(into, len(b.rows), append(proto.Input{
		{Name: "stream", Data: &streams},
		{Name: "partition", Data: &partitions},
		{Name: "block_lo", Data: &lo},
		{Name: "block_hi", Data: &hi},
		{Name: "block_day", Data: &day},
	}, columns.input...))
}

// wholeInsert inserts what encodeWhole returns, under ClickHouse's own settings.
var wholeInsert = func() string {
	names := "stream, partition, block_lo, block_hi, block_day"
	for _, column := range newColumns().input {
		names += ", " + column.Name
	}
	return "INSERT INTO usage_ledger (" + names + ") FORMAT Native"
}()

// cpuSeconds is what this process and its children, the engine among them, have
// used so far: on a busy machine it says more than the clock. It is 0 where there
// is no /proc.
func cpuSeconds() float64 {
	return processes.ProcessorTime(processes.WithChildren(os.Getpid())...).Seconds()
}

func median[T int64 | float64 | time.Duration](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}

// BenchmarkAppend compares what the protocol costs (ids, guard, mutex, one
// thread) with plain inserts of the same blocks into the same tables with the
// same views, block by block in turns.
func BenchmarkAppend(b *testing.B) {
	const blocks, rowsABlock = 50, 20_000
	random := rand.New(rand.NewPCG(11, 12))
	counted, plain := newTables(b), newTables(b)
	a := newAppender(b, counted, 0)
	k := newKnownIDs(b.Context(), a.ledger.findRecorded, ledgerIDs{a.ledger}, idOptions{bound: DefaultConfig().HotIDs, loadTurn: make(chan struct{}, 1), log: slog.New(slog.DiscardHandler)})
	defer k.close()
	for !k.complete() {
		runtime.Gosched()
	}
	plainColumns := newColumns()
	var withCPU, withoutCPU float64
	var ratios, ids, protocolSeconds, plainSeconds []float64
	for b.Loop() {
		for i := range blocks {
			events := benchEvents(random, testTime.Add(time.Duration(i)*time.Minute), time.Minute, rowsABlock)
			protocol := func() time.Duration {
				blk := &block{lo: a.next, hi: a.next + rowsABlock, day: dayOf(testTime), rows: rowsOf(a.next, events)}
				used, started := cpuSeconds(), time.Now()
				hashRows(blk.rows)
				known, err := k.lookUp(b.Context(), blk, nil)
				if err != nil {
					b.Fatal(err)
				}
				classify(blk.rows, known)
				ids = append(ids, time.Since(started).Seconds())
				encoded, err := a.columns.encode(nil, blk)
				if err != nil {
					b.Fatal(err)
				}
				if err := a.ledger.append(b.Context(), blk, encoded); err != nil {
					b.Fatal(err)
				}
				k.remember(blk.rows, true)
				took := time.Since(started)
				withCPU += cpuSeconds() - used
				a.next = blk.hi
				return took
			}
			simple := func() time.Duration {
				blk := &block{lo: int64(i) * rowsABlock, hi: int64(i+1) * rowsABlock, day: dayOf(testTime), rows: rowsOf(int64(i)*rowsABlock, events)}
				for i := range blk.rows {
					blk.rows[i].outcome = schemas.OutcomeCounted
				}
				used, started := cpuSeconds(), time.Now()
				encoded, err := encodeWhole(nil, plainColumns, a.ledger.stream, 0, blk)
				if err == nil {
					err = plain.Exec(b.Context(), clickhouse.Statement{SQL: wholeInsert, Body: encoded})
				}
				if err != nil {
					b.Fatal(err)
				}
				took := time.Since(started)
				withoutCPU += cpuSeconds() - used
				return took
			}
			var with, without time.Duration
			if i%2 == 0 {
				with, without = protocol(), simple()
			} else {
				without, with = simple(), protocol()
			}
			ratios = append(ratios, with.Seconds()/without.Seconds())
			protocolSeconds, plainSeconds = append(protocolSeconds, with.Seconds()), append(plainSeconds, without.Seconds())
		}
	}
	b.ReportMetric(rowsABlock/median(protocolSeconds), "protocol_rows/s")
	b.ReportMetric(rowsABlock/median(plainSeconds), "plain_rows/s")
	b.ReportMetric(median(ids)*1000, "ids_ms/block")
	b.ReportMetric(1/median(ratios), "ratio")
	b.ReportMetric(withCPU/blocks*1000, "protocol_cpu_ms/block")
	b.ReportMetric(withoutCPU/blocks*1000, "plain_cpu_ms/block")
}

var rollupViews = func() (views []string) {
	for _, rollup := range tables.Rollups {
		views = append(views, rollup.Table+"_view")
	}
	return views
}()

// withoutViews runs f while the given views are off.
func withoutViews(b *testing.B, client *clickhouse.Client, views []string, f func()) {
	b.Helper()
	for _, view := range views {
		mustExec(b, client, "DETACH TABLE "+view)
	}
	f()
	for _, view := range views {
		mustExec(b, client, "ATTACH TABLE "+view)
	}
}

// fillLedger puts rows into a partition by the engine itself, with all views
// that are on. Row i's id is partition/i.
func fillLedger(b *testing.B, client *clickhouse.Client, stream uuid.UUID, partition int32, rows int64) {
	b.Helper()
	mustExec(b, client, fmt.Sprintf(`
INSERT INTO usage_ledger (stream, partition, offset, block_lo, block_hi, block_day, kafka_time, event_id, outcome, workspace, agent, conversation, model, channel, occurred_at, credits, messages)
SELECT '%s', %d, toInt64(number), toInt64(intDiv(number, 50000) * 50000), toInt64(least(intDiv(number, 50000) * 50000 + 50000, %d)), '2026-11-24', toDateTime64('2026-11-24 09:00:00', 3, 'UTC'),
    lower(hex(MD5(concat('%d/', toString(number))))), 'counted', concat('ws_', toString(cityHash64(number, 1) %% 20)), concat('agt_', toString(cityHash64(number, 2) %% 50)),
    concat('conv_', toString(intDiv(number, 5))), 'large', 'embed',
    toDateTime64('2026-08-24 00:00:00', 6, 'UTC') + toIntervalMicrosecond(intDiv(number * 7948800000000, %d)), 1500000, 1
FROM numbers(%d)
SETTINGS max_insert_threads = 1, max_memory_usage = 0, max_insert_block_size = 1000000, min_insert_block_size_rows = 1000000, max_block_size = 65536`,
		stream, partition, rows, partition, rows, rows))
}

// BenchmarkTakeOver is ten partitions at once after a crash: the last block of
// each is in the ledger and in no view.
func BenchmarkTakeOver(b *testing.B) {
	const partitions, rowsAPartition, lastBlock = 10, 200_000, 20_000
	for _, kind := range []struct {
		name string
		span time.Duration // of event time that a block covers
	}{{"live", time.Minute}, {"import", 90 * 24 * time.Hour}} {
		b.Run(kind.name, func(b *testing.B) {
			random := rand.New(rand.NewPCG(13, 14))
			client := newTables(b)
			stream := uuid.New()
			appenders := make([]*appender, partitions)
			for p := range appenders {
				fillLedger(b, client, stream, int32(p), rowsAPartition)
				appenders[p] = newAppender(b, client, int32(p))
				appenders[p].ledger.stream, appenders[p].next = stream, rowsAPartition
			}
			var seconds, cpu []float64
			first := time.Date(2026, 8, 24, 0, 0, 0, 0, time.UTC)
			if kind.span < time.Hour {
				first = testTime
			}
			for b.Loop() {
				for range 2 {
					withoutViews(b, client, append(rollupViews, "usage_id_places_view"), func() {
						for _, a := range appenders {
							a.count(benchEvents(random, first, kind.span, lastBlock))
						}
					})
					used, started := cpuSeconds(), time.Now()
					var all sync.WaitGroup
					for _, a := range appenders {
						all.Go(func() {
							end, err := a.ledger.end(b.Context())
							if err == nil {
								_, err = a.ledger.reconcile(b.Context(), end.lo, end.hi)
							}
							if err != nil {
								b.Error(err)
							}
						})
					}
					all.Wait()
					seconds = append(seconds, time.Since(started).Seconds())
					cpu = append(cpu, cpuSeconds()-used)
				}
			}
			want := uint64(appenders[0].next) * partitions
			for table, column := range map[string]string{"usage_minute": "sum(events)", "usage_hour": "sum(events)", "usage_id_places": "count()"} {
				var got uint64
				if err := client.Conn().QueryRow(b.Context(), "SELECT toUInt64("+column+") FROM "+table).Scan(&got); err != nil {
					b.Fatal(err)
				}
				// The minute tier keeps 32 days.
				if got != want && table != "usage_minute" {
					b.Errorf("%s has %d events, want %d", table, got, want)
				}
			}
			b.ReportMetric(median(seconds), "s/ten_partitions")
			b.ReportMetric(median(cpu), "cpu_s/ten_partitions")
		})
	}
}

// BenchmarkOldIDs is with ten million ids on disk: how fast they are looked up,
// how fast blocks of nothing but re-sent events are counted, and how long a
// filter of them takes to load.
func BenchmarkOldIDs(b *testing.B) {
	const partitions, rowsAPartition, rowsABlock = 4, 2_500_000, 50_000
	client := newTables(b)
	stream := uuid.New()
	withoutViews(b, client, rollupViews, func() {
		for p := range int32(partitions) {
			fillLedger(b, client, stream, p, rowsAPartition)
		}
	})
	appenders := make([]*appender, partitions)
	for p := range appenders {
		appenders[p] = newAppender(b, client, int32(p))
		appenders[p].ledger.stream, appenders[p].next = stream, rowsAPartition
	}

	b.Run("load", func(b *testing.B) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		source := ledgerIDs{appenders[0].ledger}
		var seconds []float64
		var filter *idFilter
		for b.Loop() {
			started := time.Now()
			n, err := source.countIDs(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			filter = newIDFilter(int64(DefaultConfig().HotIDs))
			filter.reserve(n + n/8)
			err = source.loadIDs(b.Context(), func(ids []schemas.IDKey) {
				for _, id := range ids {
					filter.add(id)
				}
			})
			if err != nil {
				b.Fatal(err)
			}
			seconds = append(seconds, time.Since(started).Seconds())
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if filter.held < rowsAPartition*99/100 {
			b.Errorf("%d ids are loaded, want %d", filter.held, rowsAPartition)
		}
		b.ReportMetric(median(seconds), "s/partition")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/rowsAPartition, "MB/million_ids")
		runtime.KeepAlive(filter)
	})

	// oldEvents are those that fillLedger counted at the given offsets.
	oldEvents := func(partition int32, lo, step int64) []schemas.Event {
		var id, workspace, agent proto.ColStr
		var occurredAt proto.ColDateTime64
		occurredAt.WithPrecision(proto.PrecisionMicro).WithLocation(time.UTC)
		columns := proto.Results{
			{Name: "event_id", Data: &id}, {Name: "workspace", Data: &workspace}, {Name: "agent", Data: &agent}, {Name: "occurred_at", Data: &occurredAt},
		}
		var events []schemas.Event
		err := client.Select(b.Context(), clickhouse.Statement{SQL: fmt.Sprintf(`SELECT event_id, CAST(workspace, 'String') AS workspace, CAST(agent, 'String') AS agent, occurred_at
FROM usage_ledger WHERE stream = '%s' AND partition = %d AND offset >= %d AND offset < %d AND (offset - %d) %% %d = 0 ORDER BY offset FORMAT Native`,
			stream, partition, lo, lo+step*rowsABlock, lo, step)}, columns, func(n int) error {
			for i := range n {
				events = append(events, schemas.Event{
					ID: id.Row(i), Workspace: schemas.WorkspaceID(workspace.Row(i)), Agent: schemas.AgentID(agent.Row(i)),
					Channel: "embed", OccurredAt: occurredAt.Row(i), Credits: 1_500_000, Messages: 1,
				})
			}
			return nil
		})
		if err != nil || len(events) != rowsABlock {
			b.Fatalf("%d old events, %v", len(events), err)
		}
		return events
	}

	for _, kind := range []struct {
		name string
		step int64 // between the offsets of one block
	}{{"resent", 1}, {"resent_sparse", 40}} {
		b.Run(kind.name, func(b *testing.B) {
			const blocks = 3
			var batches [partitions][blocks][]schemas.Event
			for p := range batches {
				for i := range batches[p] {
					batches[p][i] = oldEvents(int32(p), int64(100_000+i*rowsABlock)%(rowsAPartition-kind.step*rowsABlock), kind.step)
				}
			}
			var rates, lookUps []float64
			var cpu float64
			for b.Loop() {
				var mu sync.Mutex // guards lookUps
				used, started := cpuSeconds(), time.Now()
				var all sync.WaitGroup
				for p, a := range appenders {
					k := newKnownIDs(b.Context(), a.ledger.findRecorded, nil, idOptions{})
					all.Go(func() {
						defer k.close()
						for _, events := range batches[p] {
							blk := &block{lo: a.next, hi: a.next + rowsABlock, day: dayOf(testTime), rows: rowsOf(a.next, events)}
							hashRows(blk.rows)
							looked := time.Now()
							known, err := k.lookUp(b.Context(), blk, nil)
							if err != nil {
								b.Error(err)
								return
							}
							mu.Lock()
							lookUps = append(lookUps, time.Since(looked).Seconds())
							mu.Unlock()
							classify(blk.rows, known)
							for i := range blk.rows {
								if blk.rows[i].outcome != schemas.OutcomeDuplicate {
									b.Errorf("old event %d is %s", i, blk.rows[i].outcome)
									return
								}
							}
							encoded, err := a.columns.encode(nil, blk)
							if err == nil {
								err = a.ledger.append(b.Context(), blk, encoded)
							}
							if err != nil {
								b.Error(err)
								return
							}
							a.next = blk.hi
						}
					})
				}
				all.Wait()
				cpu = (cpuSeconds() - used) / (partitions * blocks)
				rates = append(rates, partitions*blocks*rowsABlock/time.Since(started).Seconds())
			}
			b.ReportMetric(median(rates), "events/s")
			b.ReportMetric(cpu*1000, "cpu_ms/block")
			b.ReportMetric(median(lookUps)*1000, "lookup_ms/block")
		})
	}

	b.Run("few", func(b *testing.B) {
		events := oldEvents(0, 0, 40)
		var seconds []float64
		for b.Loop() {
			for i := range 50 {
				ids := make([]schemas.IDHash, 10)
				for j := range ids {
					e := &events[(i*len(ids)+j)*97%len(events)]
					ids[j] = schemas.HashID(e.Workspace, e.ID)
				}
				started := time.Now()
				found, err := appenders[0].ledger.findRecorded(context.WithoutCancel(b.Context()), ids, appenders[0].next)
				if err != nil || len(found) != len(ids) {
					b.Fatalf("%d found, %v", len(found), err)
				}
				seconds = append(seconds, time.Since(started).Seconds())
			}
		}
		b.ReportMetric(median(seconds)*1000, "ms/ten_ids")
	})
}
