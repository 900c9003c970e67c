package rollup

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
	"agentmeter/schemas"
)

// BenchmarkPipeline counts a backlog from Kafka into the ledger and all its
// views, by the protocol and by a pipeline of the same parts that counts on
// nothing: it fetches, decodes, inserts and commits its offsets, the next block
// prepared while one is inserted, as everywhere. Both in turns, each time into
// empty tables.
func BenchmarkPipeline(b *testing.B) {
	const rounds, events, batch = 5, 1_600_000, 20_000
	s := newStack(b)
	s.log = slog.New(slog.DiscardHandler)
	random := rand.New(rand.NewPCG(15, 16))
	for sent := 0; sent < events; sent += batch {
		s.produce(benchEvents(random, testTime.Add(time.Duration(sent/batch)*time.Minute), time.Minute, batch)...)
	}
	var protocol, plain, ratios, protocolCPU, plainCPU []float64
	measure := func(run func(*clickhouse.Client) (counted func() int64, stop func())) (rate, cpu float64) {
		client := newTables(b)
		counted, stop := run(client)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		var began time.Time
		var first int64
		var used float64
		for range tick.C {
			n := counted()
			if began.IsZero() && n > 0 { // what it takes to begin is not of interest
				first, began, used = n, time.Now(), cpuSeconds()
			}
			if n == events {
				break
			}
		}
		rate = float64(events-first) / time.Since(began).Seconds()
		cpu = (cpuSeconds() - used) / float64(events-first)
		stop()
		for _, total := range []string{"count() FROM usage_ledger", "sum(events) FROM usage_hour", "count() FROM usage_ids"} {
			var rows int64
			if err := client.Conn().QueryRow(b.Context(), "SELECT toInt64(total) FROM (SELECT "+strings.Replace(total, " FROM", " AS total FROM", 1)+")").Scan(&rows); err != nil {
				b.Fatal(err)
			}
			if rows != events {
				b.Fatalf("%s is %d, want %d", total, rows, events)
			}
		}
		return rate, cpu
	}
	for b.Loop() {
		for round := range rounds {
			sides := []func(){
				func() {
					rate, cpu := measure(s.runProtocol)
					protocol, protocolCPU = append(protocol, rate), append(protocolCPU, cpu)
				},
				func() {
					rate, cpu := measure(s.runPlain)
					plain, plainCPU = append(plain, rate), append(plainCPU, cpu)
				},
			}
			sides[round%2]()
			sides[1-round%2]()
			ratios = append(ratios, protocol[round]/plain[round])
		}
	}
	b.ReportMetric(median(protocol), "protocol_events/s")
	b.ReportMetric(median(plain), "plain_events/s")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(median(protocolCPU)*1e6, "protocol_cpu_µs/event")
	b.ReportMetric(median(plainCPU)*1e6, "plain_cpu_µs/event")
}

// runProtocol counts the topic into the client's tables as the product does.
func (s *stack) runProtocol(client *clickhouse.Client) (counted func() int64, stop func()) {
	s.t.Helper()
	config := DefaultConfig()
	config.Group = uuid.NewString()
	registry := prometheus.NewRegistry()
	stop = s.run(config, client, registry)
	return func() int64 { return int64(sumOf(s.t, registry, "rows_total")) }, stop
}

// runPlain counts the topic into the client's tables as anybody would who counts
// on nothing going wrong.
func (s *stack) runPlain(client *clickhouse.Client) (counted func() int64, stop func()) {
	s.t.Helper()
	stream, err := kafka.DescribeStream(s.t.Context(), s.admin, kafka.TopicEvents)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	group := uuid.NewString()
	var rows atomic.Int64
	var all sync.WaitGroup
	for partition := range stream.Partitions {
		consumer, err := kgo.NewClient(append((&Rollup{kafka: s.kafka, log: s.log}).consumerOptions(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
			kafka.TopicEvents: {partition: kgo.NewOffset().At(0)},
		}))...)
		if err != nil {
			s.t.Fatal(err)
		}
		config := DefaultConfig()
		fetched := &preparer{stream: stream.ID, partition: partition, partitions: stream.Partitions, config: config, consumer: consumer}
		ready := make(chan *preparedBlock)
		all.Go(func() {
			defer close(ready)
			defer consumer.Close()
			for fetched.fill(ctx) == nil {
				next := &preparedBlock{columns: newColumns()}
				next.block, fetched.pending = cutBlock(fetched.next, fetched.pending, config.MaxBlockRows)
				fetched.next = next.hi
				for i := range next.rows {
					r := &next.rows[i]
					if err := fetched.decoder.Decode(r.record.Value, &r.event); err != nil {
						s.t.Error(err)
						return
					}
					r.outcome = schemas.OutcomeCounted
					if r.event.Playground() {
						r.outcome = schemas.OutcomePlayground
					}
				}
				var err error
				if next.encoded, err = encodeWhole(stream.ID, partition, next); err != nil {
					s.t.Error(err)
					return
				}
				select {
				case ready <- next:
				case <-ctx.Done():
					return
				}
			}
		})
		all.Go(func() {
			for b := range ready {
				if err := client.Exec(s.t.Context(), clickhouse.Statement{SQL: wholeInsert, Body: b.encoded}); err != nil {
					s.t.Error(err)
					return
				}
				offsets := make(kadm.Offsets)
				offsets.AddOffset(kafka.TopicEvents, partition, b.hi, -1)
				if err := s.admin.CommitAllOffsets(s.t.Context(), group, offsets); err != nil {
					s.t.Error(err)
					return
				}
				rows.Add(b.hi - b.lo)
			}
		})
	}
	return rows.Load, func() {
		cancel()
		all.Wait()
	}
}
