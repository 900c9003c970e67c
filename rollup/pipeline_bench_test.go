package rollup

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

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
	const rounds, events = 5, 1_600_000
	s := newStack(b)
	s.log = slog.New(slog.DiscardHandler)
	s.produceTraffic(16, events)
	var protocol, plain, ratios, protocolCPU, plainCPU []float64
	measure := func(run func(*clickhouse.Client) (counted func() int64, stop func())) (rate, cpu float64) {
		client := newTables(b)
		counted, stop := run(client)
		m := measureCount(counted, events)
		stop()
		requireCounted(b, client, events, events)
		return m.rate, m.cpu
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
	group, limit := uuid.NewString(), newTurns()
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
		fetched := &preparer{stream: stream.ID, partition: partition, partitions: stream.Partitions, config: config, consumer: consumer, turns: limit}
		ready := make(chan *preparedBlock)
		all.Go(func() {
			defer close(ready)
			defer consumer.Close()
			for {
				next := &preparedBlock{encoded: encodingsPool.Get().(*[]byte)}
				var err error
				if next.block, next.endTurn, err = fetched.cut(ctx); err != nil {
					return
				}
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
				columns := columnsPool.Get().(*columns)
				*next.encoded, err = encodeWhole((*next.encoded)[:0], columns, stream.ID, partition, &next.block)
				columnsPool.Put(columns)
				if err != nil {
					s.t.Error(err)
					return
				}
				select {
				case ready <- next:
				case <-ctx.Done():
					next.endTurn()
					return
				}
			}
		})
		all.Go(func() {
			for b := range ready {
				if err := client.Exec(s.t.Context(), clickhouse.Statement{SQL: wholeInsert, Body: *b.encoded}); err != nil {
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
				b.giveBack()
			}
		})
	}
	return rows.Load, func() {
		cancel()
		all.Wait()
	}
}
