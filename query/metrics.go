package query

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	statements *prometheus.HistogramVec
	rows       *prometheus.CounterVec
	tiers      *prometheus.HistogramVec
	reads      *prometheus.CounterVec
	answers    *prometheus.CounterVec
	refused    *prometheus.CounterVec
	waiting    prometheus.Gauge
	live       prometheus.Gauge
	heldUnits  *prometheus.CounterVec
	totals     *prometheus.CounterVec
	limited    prometheus.Counter
}

var statementBuckets = []float64{.0005, .001, .002, .005, .01, .015, .025, .04, .1, .25, .5, 1, 2.5, 5, 15, 60}

// newMetrics registers the package's instruments. Statements and tiers are
// named by constants of the program, so every label is bounded.
func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		statements: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                        "agentmeter_query_statement_duration_seconds",
			Help:                        "Time from sending a statement to ClickHouse to the last row of its answer, by statement and route.",
			Buckets:                     statementBuckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"statement", "route"}),
		tiers: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                        "agentmeter_query_tier_duration_seconds",
			Help:                        "Time of a statement that reads figures, by route and the finest tier that it reads (the ledger is finer than minutes).",
			Buckets:                     statementBuckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"route", "tier"}),
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_query_rows_total",
			Help: "Rows that ClickHouse answered with, by statement.",
		}, []string{"statement"}),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_query_tier_reads_total",
			Help: "Stretches of time that were read, by the tier that answered them. Reads of the ledger are the slow ones.",
		}, []string{"tier"}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_query_answers_total",
			Help: "Answers with figures, by route and completeness (complete, partial, unchanged).",
		}, []string{"route", "completeness"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_query_refused_total",
			Help: "Requests that were told to come again because too many were being answered: of their workspace (share, 429), or in all (full, 503).",
		}, []string{"why"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "agentmeter_query_waiting_requests",
			Help: "Requests that wait for their turn.",
		}),
		live: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "agentmeter_query_live_streams",
			Help: "Open live streams.",
		}),
		heldUnits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_query_held_bars_total",
			Help: "Bars of answers, by whether their agents were held in memory (held) or had to be read (read).",
		}, []string{"from"}),
		limited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "agentmeter_query_rate_limited_total",
			Help: "Requests that were refused because their workspace asked too many a second.",
		}),
		totals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_query_held_totals_total",
			Help: "Times that a workspace's totals were asked for, by whether they were held, since nothing more had been counted (held), or had to be read (read).",
		}, []string{"from"}),
	}
	for _, why := range [...]string{"share", "full"} {
		m.refused.WithLabelValues(why)
	}
	for _, from := range [...]string{"held", "read"} {
		m.heldUnits.WithLabelValues(from)
		m.totals.WithLabelValues(from)
	}
	reg.MustRegister(m.heldUnits, m.totals, m.limited, m.statements, m.tiers, m.rows, m.reads, m.answers, m.refused, m.waiting, m.live)
	return m
}

func (m *metrics) observeStatement(statement, route string, began time.Time, rows int) {
	m.statements.WithLabelValues(statement, route).Observe(time.Since(began).Seconds())
	m.rows.WithLabelValues(statement).Add(float64(rows))
}
