package main

import (
	"fmt"
	"slices"
	"strings"
)

// suite is the benchmarks of one package that belong here.
type suite struct {
	pkg     string
	bench   string // which, as go test -bench takes it
	figures []figure
}

// figure is one line of the table: a metric that a benchmark reports.
type figure struct {
	name      string
	benchmark string // without "Benchmark"
	metric    string
	unit      string
	// Where there is a reference, the goal is for the ratio to it, which the
	// benchmark reports itself: the median of pairs is not the pair of medians.
	reference       string
	referenceMetric string
	ratioMetric     string
	atLeast, atMost float64 // at most one is set
}

var suites = []suite{
	{
		pkg:   "./ingest",
		bench: "^Benchmark(Batches|Single)$",
		figures: []figure{
			batches("NDJSON", "ndjson", 0.5),
			batches("protobuf", "protobuf", 0.8),
			{
				name: "accept single events over 256 connections", benchmark: "Single", metric: "events/s", unit: "events/s",
				reference: "a handler that only reads the body and answers", referenceMetric: "read_only_events/s", ratioMetric: "ratio", atLeast: 0.5,
			},
		},
	},
	{
		pkg:   "./rollup",
		bench: "^Benchmark(Backlog|Pipeline|Resent|Append|TakeOver|OldIDs|ScaleOut)$",
		figures: slices.Concat([]figure{
			{
				name: "count a backlog of 1.6 million events by the protocol", benchmark: "Pipeline", metric: "protocol_events/s", unit: "events/s",
				reference: "the same pipeline with plain INSERTs", referenceMetric: "plain_events/s", ratioMetric: "ratio", atLeast: 0.9,
			},
			{
				name: "count a backlog, Kafka to ledger and all views", benchmark: "Backlog", metric: "rollup_events/s", unit: "events/s",
				reference: "the engine alone reads the same rows from a file, as fast as it can", referenceMetric: "engine_events/s", ratioMetric: "ratio", atLeast: 0.8,
			},
			{
				name: "count a backlog, against default settings", benchmark: "Backlog", metric: "rollup_events/s", unit: "events/s",
				reference: "the file with the engine's default settings", referenceMetric: "engine_defaults_events/s", ratioMetric: "ratio_to_defaults",
			},
			{
				name: "count a backlog, against rows", benchmark: "Backlog", metric: "rollup_events/s", unit: "events/s",
				reference: "a consumer that appends rows by clickhouse-go, no ids", referenceMetric: "rows_events/s", ratioMetric: "of_rows",
			},
			{
				name: "count a backlog, against ClickHouse alone", benchmark: "Backlog", metric: "rollup_events/s", unit: "events/s",
				reference: "ClickHouse's own Kafka engine and the same views, no ids", referenceMetric: "kafka_engine_events/s", ratioMetric: "of_kafka_engine",
			},
			{name: "count a backlog, processor time", benchmark: "Backlog", metric: "rollup_cpu_µs/event", unit: "µs/event"},
			{name: "processor time of the engine alone", benchmark: "Backlog", metric: "engine_cpu_µs/event", unit: "µs/event"},
			{
				name: "count re-sent events, all of them", benchmark: "Resent", metric: "resent_events/s", unit: "events/s",
				reference: "new ones", referenceMetric: "new_events/s", ratioMetric: "ratio", atLeast: 0.8,
			},
			{
				name: "one block by the protocol, one step after another", benchmark: "Append", metric: "protocol_rows/s", unit: "rows/s",
				reference: "plain INSERT", referenceMetric: "plain_rows/s", ratioMetric: "ratio",
			},
			{name: "take over ten partitions after a crash, live", benchmark: "TakeOver/live", metric: "s/ten_partitions", unit: "s", atMost: 2},
			{name: "take over ten partitions after a crash, import", benchmark: "TakeOver/import", metric: "s/ten_partitions", unit: "s", atMost: 2},
			{name: "count re-sent events, 10 million ids on disk", benchmark: "OldIDs/resent", metric: "events/s", unit: "events/s", atLeast: 150_000},
			{name: "the same, one event in forty", benchmark: "OldIDs/resent_sparse", metric: "events/s", unit: "events/s", atLeast: 150_000},
			{name: "look up ten ids of 10 million", benchmark: "OldIDs/few", metric: "ms/ten_ids", unit: "ms"},
			{name: "load the id filter of 2.5 million ids", benchmark: "OldIDs/load", metric: "s/partition", unit: "s"},
			{name: "memory of the id filter", benchmark: "OldIDs/load", metric: "MB/million_ids", unit: "MB/million", atMost: 3.6},
		}, scaleOut(1), scaleOut(2), scaleOut(4)),
	},
	{
		pkg:     "./query",
		bench:   "^Benchmark(Year|Tenth)$",
		figures: slices.Concat(questions("20", 5, 15), questions("300", 15, 40)),
	},
	{
		pkg:   "./internal/e2e",
		bench: "^Benchmark(System|Roles)$",
		figures: []figure{
			{name: "agentmeter run: count 10 million events sent over HTTP", benchmark: "System/rate", metric: "events/s", unit: "events/s"},
			{name: "the same, accepted", benchmark: "System/rate", metric: "accepted_events/s", unit: "events/s"},
			{name: "memory of agentmeter run at full rate", benchmark: "System/rate", metric: "MiB", unit: "MiB", atMost: 2048},
			{name: "memory of agentmeter run, idle, 10 million events on disk", benchmark: "System/idle", metric: "MiB", unit: "MiB", atMost: 700},
			{name: "processor of agentmeter run, idle", benchmark: "System/idle", metric: "%_of_a_core", unit: "% of a core", atMost: 2},
			{name: "memory of rollup at full rate, beside 3.6 MB a million ids", benchmark: "Roles", metric: "rollup_beside_filter_MiB", unit: "MiB", atMost: 256},
			{name: "memory of ingest at full rate", benchmark: "Roles", metric: "ingest_MiB", unit: "MiB", atMost: 256},
			{
				name: "disk: an event in ledger, id look-up and rollups, traffic of a year", benchmark: "System/disk", metric: "bytes/event", unit: "bytes",
				reference: "as a line of JSON", referenceMetric: "json_bytes/event", ratioMetric: "of_json", atMost: 0.15,
			},
			{
				name: "disk: the same, all of it of minutes at full rate", benchmark: "System/disk", metric: "live_bytes/event", unit: "bytes",
				reference: "as a line of JSON", referenceMetric: "json_bytes/event", ratioMetric: "live_of_json", atMost: 0.15,
			},
			{name: "start after kill -9 at full rate, 10 million events on disk: ready", benchmark: "System/start", metric: "s/ready", unit: "s", atMost: 2},
			{name: "the same: everything acknowledged is counted", benchmark: "System/start", metric: "s/counted", unit: "s", atMost: 5},
			{name: "at half the full rate: acknowledged to on the dashboard, median", benchmark: "System/freshness", metric: "p50-s", unit: "s", atMost: 0.5},
			{name: "the same, 99th percentile", benchmark: "System/freshness", metric: "p99-s", unit: "s", atMost: 1.5},
			{name: "the same, new parts of a table", benchmark: "System/freshness", metric: "parts/s", unit: "parts/s", atMost: 20},
			{
				name: "at half the full rate: page, 99th percentile", benchmark: "System/questions", metric: "page-p99-ms", unit: "ms",
				reference: "nothing coming in", referenceMetric: "page-calm-p99-ms", ratioMetric: "page-of-calm", atMost: 2,
			},
			{
				name: "the same, page and others", benchmark: "System/questions", metric: "mix-p99-ms", unit: "ms",
				reference: "nothing coming in", referenceMetric: "mix-calm-p99-ms", ratioMetric: "mix-of-calm", atMost: 2,
			},
		},
	},
	{ // behind the queries, whose year it counts into
		pkg:   "./rollup",
		bench: "^BenchmarkGrowth$",
		figures: []figure{{
			name: "count into 100 million events", benchmark: "Growth", metric: "year_cpu_µs/event", unit: "µs/event",
			reference: "into a million", referenceMetric: "million_cpu_µs/event", ratioMetric: "ratio", atMost: 1.2,
		}},
	},
}

// batches is the figure of ingest's batches of 1,000 in one format.
func batches(format, name string, atLeast float64) figure {
	return figure{
		name: "accept batches of 1,000 as " + format, benchmark: "Batches/" + name, metric: "events/s", unit: "events/s",
		reference: "a bare producer of the same records", referenceMetric: "bare_events/s", ratioMetric: "ratio", atLeast: atLeast,
	}
}

// scaleOut are the figures of counting by some processes of one processor each.
func scaleOut(processes int) []figure {
	benchmark := fmt.Sprintf("ScaleOut/%d", processes)
	of := func(what string) string { return fmt.Sprintf("%d rollup processes: %s", processes, what) }
	return []figure{
		{name: of("events counted"), benchmark: benchmark, metric: "events/s", unit: "events/s"},
		{name: of("their processor time"), benchmark: benchmark, metric: "rollup_cpu_µs/event", unit: "µs/event"},
		{name: of("ClickHouse's"), benchmark: benchmark, metric: "engine_cpu_µs/event", unit: "µs/event"},
		{name: of("memory of the largest"), benchmark: benchmark, metric: "largest_rollup_MiB", unit: "MiB"},
	}
}

// questions are the figures of one workspace of the query service's year, with
// the goals for the page's question in milliseconds.
func questions(agents string, p50, p99 float64) []figure {
	year := "Year/" + agents + "/"
	of := func(what string) string { return what + ", " + agents + " agents" }
	figures := []figure{
		{name: of("page: 30 days compared, median"), benchmark: year + "page", metric: "p50-ms", unit: "ms", atMost: p50},
		{name: of("page, 99th percentile"), benchmark: year + "page", metric: "p99-ms", unit: "ms", atMost: p99},
		{
			name: of("page against its SQL"), benchmark: year + "page", metric: "p50-ms", unit: "ms",
			reference: "the statement alone", referenceMetric: "bare-p50-ms", ratioMetric: "of-bare", atMost: 1.5,
		},
		{
			name: of("page against SELECT 1"), benchmark: year + "page", metric: "p50-ms", unit: "ms",
			reference: "SELECT 1", referenceMetric: "select1-p50-ms", ratioMetric: "of-select1",
		},
		{name: of("page while more is counted all the time, median"), benchmark: year + "moving", metric: "p50-ms", unit: "ms", atMost: p50},
		{name: of("the same, 99th percentile"), benchmark: year + "moving", metric: "p99-ms", unit: "ms", atMost: p99},
		{name: of("nothing has changed"), benchmark: year + "unchanged", metric: "p50-ms", unit: "ms", atMost: 2},
		{name: of("page, eight clients at once"), benchmark: year + "saturation", metric: "answers/s", unit: "answers/s"},
		{
			name: of("page's figures from raw events"), benchmark: year + "raw", metric: "p50-ms", unit: "ms",
			reference: "page", referenceMetric: "page-p50-ms", ratioMetric: "of-page",
		},
	}
	for _, zone := range []string{"utc", "copenhagen", "new_york", "kolkata", "kathmandu"} {
		figures = append(figures, figure{name: of("page, the first time in " + zone), benchmark: year + "first", metric: zone + "-p50-ms", unit: "ms"})
	}
	for _, other := range []string{"year_by_week", "agent_by_hour", "total_of_a_year"} {
		name := of(strings.ReplaceAll(other, "_", " "))
		figures = append(figures, figure{name: name + ", median", benchmark: year + other, metric: "p50-ms", unit: "ms"},
			figure{name: name + ", 99th percentile", benchmark: year + other, metric: "p99-ms", unit: "ms"})
	}
	tenth := "Tenth/" + agents + "/"
	for _, what := range []string{"page", "moving", "year_by_week", "agent_by_hour", "total_of_a_year"} {
		figures = append(figures, figure{name: of(strings.ReplaceAll(what, "_", " ") + ", ten times the events"), benchmark: tenth + what, metric: "growth", unit: "times", atMost: 1.5})
	}
	return append(figures, figure{name: of("page, the first time, ten times the events"), benchmark: tenth + "first", metric: "copenhagen-growth", unit: "times", atMost: 1.5})
}
