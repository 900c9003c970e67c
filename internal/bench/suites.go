package main

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
		pkg:   "./rollup",
		bench: "^Benchmark(Pipeline|Append|TakeOver|OldIDs)$",
		figures: []figure{
			{
				name: "count a backlog of 1.6 million events by the protocol", benchmark: "Pipeline", metric: "protocol_events/s", unit: "events/s",
				reference: "the same pipeline with plain INSERTs", referenceMetric: "plain_events/s", ratioMetric: "ratio", atLeast: 0.9,
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
		},
	},
}
