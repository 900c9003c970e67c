package rollup

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	rows          *prometheus.CounterVec
	blockRows     prometheus.Histogram
	blockSeconds  prometheus.Histogram
	doubts        prometheus.Counter
	reconciled    prometheus.Counter
	stale         prometheus.Counter
	sessionErrors prometheus.Counter
	deadLetters   prometheus.Counter
	takeOver      prometheus.Histogram
	halted        *prometheus.GaugeVec
	lagRecords    *prometheus.GaugeVec
	lagSeconds    prometheus.Gauge
	owned         prometheus.Gauge
	directory     prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "agentmeter_rollup_" + name, Help: help})
		registerer.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "agentmeter_rollup_" + name, Help: help})
		registerer.MustRegister(g)
		return g
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "agentmeter_rollup_" + name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		})
		registerer.MustRegister(h)
		return h
	}
	m := &metrics{
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_rollup_rows_total", Help: "Ledger rows confirmed, by outcome.",
		}, []string{"outcome"}),
		blockRows:     histogram("block_rows", "Rows of a confirmed block.", prometheus.ExponentialBuckets(1, 4, 9)),
		blockSeconds:  histogram("block_seconds", "Time to append a block, doubts included.", prometheus.ExponentialBuckets(0.004, 2, 12)),
		doubts:        counter("doubts_total", "Block inserts that did not simply succeed, so that the ledger's end was read."),
		reconciled:    counter("reconciles_total", "Blocks whose views were reconciled with the ledger."),
		stale:         counter("stale_total", "Times that a partition was found appended by another consumer."),
		sessionErrors: counter("session_errors_total", "Times that counting a partition was interrupted by an error and started over."),
		deadLetters:   counter("dead_letters_total", "Records sent to the dead-letter topic."),
		takeOver:      histogram("take_over_seconds", "Time to take a partition over, reconcile included.", prometheus.ExponentialBuckets(0.004, 2, 12)),
		halted: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentmeter_rollup_halted", Help: "1 where a partition stands still because going on would be guessing.",
		}, []string{"partition"}),
		lagRecords: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentmeter_rollup_lag_records", Help: "Records in Kafka that are not confirmed yet.",
		}, []string{"partition"}),
		lagSeconds: gauge("lag_seconds", "Age of counted_through over the partitions that this process owns."),
		owned:      gauge("partitions_owned", "Partitions of the events topic that this process counts."),
		directory:  counter("directory_changes_total", "Directory changes stored."),
	}
	registerer.MustRegister(m.rows, m.halted, m.lagRecords)
	return m
}
