package audit

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The kinds of audits, as a label.
const (
	kindIncrement = "increment" // what was counted since the last one
	kindFull      = "full"
)

type metrics struct {
	findings    *prometheus.GaugeVec
	lastSuccess *prometheus.GaugeVec
	duration    *prometheus.HistogramVec
	position    *prometheus.GaugeVec
	logEnd      *prometheus.GaugeVec
	skipped     prometheus.Counter
	unfinished  prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		findings: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentmeter_audit_findings",
			Help: "Things that are not exact in the partitions of this process, by check. 0: ledger, rollups, ids and Kafka agree. The log says what, where and how much.",
		}, []string{"check"}),
		lastSuccess: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentmeter_audit_last_success_timestamp_seconds",
			Help: "When an audit last came to a verdict, whatever it was, by kind (increment, full).",
		}, []string{"kind"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                        "agentmeter_audit_duration_seconds",
			Help:                        "Time that an audit took, the rests of a full one included, by kind.",
			Buckets:                     prometheus.ExponentialBuckets(.05, 4, 10),
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"kind"}),
		position: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentmeter_audit_position",
			Help: "Offset below which a partition's ledger was audited by increments.",
		}, []string{"partition"}),
		logEnd: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentmeter_audit_log_end_offset",
			Help: "Where Kafka's log of a partition ends, as of the last audit. It never may lie below what ingest was told to be acknowledged.",
		}, []string{"partition"}),
		skipped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "agentmeter_audit_skipped_rows_total",
			Help: "Ledger rows that increments passed over, left to the next full audit, because counting was faster than auditing may be.",
		}),
	}
	m.unfinished = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "agentmeter_audit_unfinished_erasures",
		Help: "Erased workspaces of which rollups or directory have rows still, in the process that counts partition 0. Their erasure runs, was cut off, or has to be run again.",
	})
	for _, check := range Checks {
		m.findings.WithLabelValues(check)
	}
	reg.MustRegister(m.findings, m.lastSuccess, m.duration, m.position, m.logEnd, m.skipped, m.unfinished)
	return m
}

func (m *metrics) forget(partition int32) {
	label := strconv.Itoa(int(partition))
	m.position.DeleteLabelValues(label)
	m.logEnd.DeleteLabelValues(label)
}
