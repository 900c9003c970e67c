package rollup

import (
	"context"
	"flag"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
	"agentmeter/schemas"
)

// backlogEvents may be more where there is time: the limit is stated for ten million.
var backlogEvents = flag.Int("backlog-events", 2_000_000, "how many events BenchmarkBacklog counts at a time")

// benchRate is how many events happen in a minute of the benches' traffic.
const benchRate = 20_000

// produceTraffic sends n events of the benches' traffic. The same seed sends the
// same events.
func (s *stack) produceTraffic(seed uint64, n int) {
	s.t.Helper()
	random := rand.New(rand.NewPCG(15, seed))
	for sent := 0; sent < n; sent += benchRate {
		s.produce(benchEvents(random, testTime.Add(time.Duration(sent/benchRate)*time.Minute), time.Minute, min(benchRate, n-sent))...)
	}
}

// measured is what something took, for each event.
type measured struct{ rate, cpu float64 }

// measureCount waits until counted says end, and measures from the first event on: what it takes to begin is not of interest.
func measureCount(counted func() int64, end int64) measured {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var began time.Time
	var first int64
	var used float64
	for range tick.C {
		n := counted()
		if began.IsZero() && n > 0 {
			first, began, used = n, time.Now(), cpuSeconds()
		}
		if n == end {
			break
		}
	}
	n := float64(end - first)
	return measured{n / time.Since(began).Seconds(), (cpuSeconds() - used) / n}
}

// requireCounted checks that the tables have as many rows and events.
func requireCounted(b *testing.B, client *clickhouse.Client, rows, events int64) {
	b.Helper()
	for total, want := range map[string]int64{"count() FROM usage_ledger": rows, "sum(events) FROM usage_hour": events, "count() FROM usage_id_places": events} {
		err := client.SelectText(b.Context(), clickhouse.Statement{SQL: "SELECT " + total}, func(fields []string) error {
			if got, err := strconv.ParseInt(fields[0], 10, 64); err != nil || got != want {
				b.Errorf("%s is %s, want %d", total, fields[0], want)
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// fileSettings let the engine read a file as fast as it can: blocks of half a
// million rows, in two threads at once.
var fileSettings = map[string]string{
	"max_threads": "2", "max_insert_threads": "2", "min_insert_block_size_rows": "500000", "min_insert_block_size_bytes": "0",
}

// BenchmarkBacklog counts a backlog from Kafka into the ledger and all its views.
// The engine reads the same rows, all columns of them as the ledger has them, from
// a Native file into the same tables. Both in turns, each time into empty tables.
//
// The peers count the same records as their own users would set them up, once. None
// of them looks at ids or counts exactly once.
func BenchmarkBacklog(b *testing.B) {
	const rounds = 3
	s := newStack(b, kfake.DataDir(b.TempDir()))
	s.log = slog.New(slog.DiscardHandler)
	events := int64(*backlogEvents)
	s.produceTraffic(16, int(events))
	file := filepath.Join(b.TempDir(), "rows.native")
	ours := func() measured {
		client := newTables(b)
		counted, stop := s.runProtocol(client)
		m := measureCount(counted, events)
		stop()
		requireCounted(b, client, events, events)
		return m
	}
	engine := func(settings map[string]string) measured {
		client := newTables(b)
		used, began := cpuSeconds(), time.Now()
		if err := client.Exec(b.Context(), clickhouse.Statement{SQL: "INSERT INTO usage_ledger SELECT * FROM file('" + file + "', 'Native')", Settings: settings}); err != nil {
			b.Fatal(err)
		}
		m := measured{float64(events) / time.Since(began).Seconds(), (cpuSeconds() - used) / float64(events)}
		requireCounted(b, client, events, events)
		return m
	}
	{ // the file, which is read in the ledger's order
		client := newTables(b)
		counted, stop := s.runProtocol(client)
		measureCount(counted, events)
		stop()
		mustExec(b, client, "INSERT INTO FUNCTION file('"+file+"', 'Native') SELECT * FROM usage_ledger ORDER BY stream, partition, offset")
	}
	var count, read, plain []measured
	var ratios, plainRatios []float64
	for b.Loop() {
		for round := range rounds {
			sides := []func(){
				func() { count = append(count, ours()) },
				func() { read = append(read, engine(fileSettings)) },
				func() { plain = append(plain, engine(nil)) },
			}
			for i := range sides {
				sides[(round+i)%len(sides)]()
			}
			ratios = append(ratios, count[round].rate/read[round].rate)
			plainRatios = append(plainRatios, count[round].rate/plain[round].rate)
		}
	}
	report := func(name string, of []measured) {
		var rates, cpu []float64
		for _, m := range of {
			rates, cpu = append(rates, m.rate), append(cpu, m.cpu*1e6)
		}
		b.ReportMetric(median(rates), name+"_events/s")
		b.ReportMetric(median(cpu), name+"_cpu_µs/event")
	}
	report("rollup", count)
	report("engine", read)
	report("engine_defaults", plain)
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(median(plainRatios), "ratio_to_defaults")
	rows := s.countByRows(b, min(events, 500_000))
	report("rows", []measured{rows})
	ourRate := median([]float64{count[0].rate, count[1].rate, count[2].rate})
	b.ReportMetric(ourRate/rows.rate, "of_rows")
	kafkaEngine := s.countByKafkaEngine(b, events)
	report("kafka_engine", []measured{kafkaEngine})
	b.ReportMetric(ourRate/kafkaEngine.rate, "of_kafka_engine")
}

// countByKafkaEngine lets ClickHouse itself read the topic: a table of its Kafka
// engine, one consumer for each of two processors, and a view from there into the
// same ledger, so that the same views follow.
func (s *stack) countByKafkaEngine(b *testing.B, events int64) measured {
	b.Helper()
	client := newTables(b)
	stream, err := kafka.DescribeStream(b.Context(), s.admin, kafka.TopicEvents)
	if err != nil {
		b.Fatal(err)
	}
	mustExec(b, client, `CREATE TABLE kafka_events
(workspace_id String, id String, id_uuid String, agent_id String, conversation_id String, occurred_at_us Int64,
 channel String, model String, credits_micro Int64, messages Nullable(Int64))
ENGINE = Kafka
SETTINGS kafka_broker_list = '`+strings.Join(s.kafka.Brokers, ",")+`', kafka_topic_list = '`+kafka.TopicEvents+`',
	kafka_group_name = '`+uuid.NewString()+`', kafka_format = 'ProtobufSingle', kafka_num_consumers = 2, kafka_thread_per_consumer = 1,
	format_schema_source = 'string', format_schema_message_name = 'Event', format_schema = 'syntax = "proto3";
message Event {
  string workspace_id = 1; string id = 2; bytes id_uuid = 3; string agent_id = 4; string conversation_id = 5;
  sfixed64 occurred_at_us = 6; string channel = 7; string model = 8; sint64 credits_micro = 9; optional sint64 messages = 10;
}'`)
	mustExec(b, client, `CREATE MATERIALIZED VIEW kafka_view TO usage_ledger AS SELECT
	toUUID('`+stream.ID.String()+`') AS stream, toInt32(_partition) AS partition, toInt64(_offset) AS offset,
	offset AS block_lo, offset + 1 AS block_hi, today() AS block_day, _timestamp_ms AS kafka_time,
	if(id_uuid = '', id, UUIDNumToString(toFixedString(id_uuid, 16))) AS event_id,
	if(channel = 'playground', 'playground', 'counted') AS outcome,
	workspace_id AS workspace, agent_id AS agent, conversation_id AS conversation, model, channel,
	fromUnixTimestamp64Micro(occurred_at_us, 'UTC') AS occurred_at, credits_micro AS credits, ifNull(messages, 1) AS messages
FROM kafka_events`)
	defer mustExec(b, client, "DROP TABLE kafka_events")
	defer mustExec(b, client, "DROP TABLE kafka_view")
	number := func(sql string) (n uint64) {
		if err := client.Conn().QueryRow(b.Context(), sql).Scan(&n); err != nil {
			b.Fatal(err)
		}
		return n
	}
	tick := time.NewTicker(100 * time.Millisecond) // asking costs the engine something
	defer tick.Stop()
	deadline := time.Now().Add(2 * time.Minute)
	wait := func(done func() bool) {
		for range tick.C {
			if done() {
				return
			}
			if time.Now().After(deadline) {
				b.Fatalf("ClickHouse's Kafka engine has read %d records and counted %d", number("SELECT sum(num_messages_read) FROM system.kafka_consumers"), number("SELECT count() FROM usage_ledger"))
			}
		}
	}
	// It inserts a million rows at a time, so its first insert is no beginning.
	wait(func() bool { return number("SELECT sum(num_messages_read) FROM system.kafka_consumers") > 0 })
	began, used := time.Now(), cpuSeconds()
	wait(func() bool { // one table after another
		for _, total := range []string{"count() FROM usage_ledger", "toUInt64(sum(events)) FROM usage_hour", "count() FROM usage_id_places"} {
			if number("SELECT "+total) < uint64(events) {
				return false
			}
		}
		return true
	})
	m := measured{float64(events) / time.Since(began).Seconds(), (cpuSeconds() - used) / float64(events)}
	requireCounted(b, client, events, events)
	return m
}

// countByRows counts the topic as clickhouse-go's tutorial does: a group's
// consumer appends each record to a batch, sends it and commits the offsets. It
// stops after about as many events.
func (s *stack) countByRows(b *testing.B, enough int64) measured {
	b.Helper()
	client := newTables(b)
	stream, err := kafka.DescribeStream(b.Context(), s.admin, kafka.TopicEvents)
	if err != nil {
		b.Fatal(err)
	}
	consumer, err := kgo.NewClient(append(s.kafka.Options(s.log), kgo.ConsumerGroup(uuid.NewString()), kgo.ConsumeTopics(kafka.TopicEvents),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll())...)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	var inserted atomic.Int64
	go func() {
		defer consumer.CloseAllowingRebalance()
		for ctx.Err() == nil {
			records := consumer.PollRecords(ctx, 50_000).Records()
			if len(records) == 0 {
				consumer.AllowRebalance()
				continue
			}
			batch, err := client.Conn().PrepareBatch(b.Context(), `INSERT INTO usage_ledger
(stream, partition, offset, block_lo, block_hi, block_day, kafka_time, event_id, outcome, workspace, agent, conversation, model, channel, occurred_at, credits, messages)`)
			if err != nil {
				done <- err
				return
			}
			for _, record := range records {
				var decoder schemas.EventDecoder
				var e schemas.Event
				if err := decoder.Decode(record.Value, &e); err != nil {
					done <- err
					return
				}
				err := batch.Append(stream.ID, record.Partition, record.Offset, record.Offset, record.Offset+1, record.Timestamp, record.Timestamp, e.ID,
					"counted", string(e.Workspace), string(e.Agent), e.Conversation, e.Model, e.Channel, e.OccurredAt, int64(e.Credits), e.Messages)
				if err != nil {
					done <- err
					return
				}
			}
			if err := batch.Send(); err != nil {
				done <- err
				return
			}
			if err := consumer.CommitUncommittedOffsets(ctx); err != nil && ctx.Err() == nil {
				done <- err
				return
			}
			inserted.Add(int64(len(records)))
			consumer.AllowRebalance()
		}
		done <- nil
	}()
	m := measureCount(func() int64 {
		select {
		case err := <-done:
			b.Fatalf("the consumer ended: %v", err)
		default:
		}
		return min(inserted.Load(), enough)
	}, enough)
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
	return m
}

// BenchmarkResent counts new events, and then the same events sent again by a
// rollup that has seen none of them: each id is looked up.
func BenchmarkResent(b *testing.B) {
	const rounds, events = 3, 1_000_000
	s := newStack(b, kfake.DataDir(b.TempDir()))
	s.log = slog.New(slog.DiscardHandler)
	client := newTables(b)
	var fresh, again, ratios []float64
	rows, counted := int64(0), int64(0)
	run := func(seed uint64) measured {
		s.produceTraffic(seed, events)
		sum, stop := s.runProtocol(client)
		m := measureCount(sum, events)
		stop()
		rows += events
		requireCounted(b, client, rows, counted)
		return m
	}
	for b.Loop() {
		for round := range uint64(rounds) {
			counted += events
			first := run(round)
			second := run(round)
			fresh, again, ratios = append(fresh, first.rate), append(again, second.rate), append(ratios, second.rate/first.rate)
		}
	}
	b.ReportMetric(median(fresh), "new_events/s")
	b.ReportMetric(median(again), "resent_events/s")
	b.ReportMetric(median(ratios), "ratio")
}
