package engine

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what an operator of the embedded engine looks at.
type metrics struct {
	statements *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	refused    *prometheus.CounterVec
	running    prometheus.Gauge
	bodyBytes  prometheus.Counter
}

// How a statement ended.
const (
	outcomeOK         = "ok"
	outcomeError      = "error"
	outcomeClientGone = "client_gone"
)

// Why a request never reached the engine.
const (
	refusedForeign   = "foreign"
	refusedParse     = "parse"
	refusedBody      = "body"
	refusedQueryID   = "query_id"
	refusedAdmission = "admission"
)

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		statements: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_engine_statements_total",
			Help: "Statements that ended in the embedded engine, by kind and outcome.",
		}, []string{"kind", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                        "agentmeter_engine_statement_duration_seconds",
			Help:                        "Time in the embedded engine, without the wait for a turn.",
			Buckets:                     []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 30},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"kind"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_engine_refused_total",
			Help: "Requests that never reached the embedded engine, by reason.",
		}, []string{"reason"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "agentmeter_engine_running_statements",
			Help: "Statements running in the embedded engine.",
		}),
		bodyBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "agentmeter_engine_insert_bytes_total",
			Help: "Bytes of INSERT data handed to the embedded engine.",
		}),
	}
	for _, kind := range [...]statementKind{kindSelect, kindInsert, kindSession, kindOther} {
		for _, outcome := range [...]string{outcomeOK, outcomeError, outcomeClientGone} {
			m.statements.WithLabelValues(kind.String(), outcome)
		}
	}
	for _, reason := range [...]string{refusedForeign, refusedParse, refusedBody, refusedQueryID, refusedAdmission} {
		m.refused.WithLabelValues(reason)
	}
	m.register(r)
	return m
}

func (m *metrics) register(r prometheus.Registerer) {
	r.MustRegister(m.statements, m.seconds, m.refused, m.running, m.bodyBytes)
}

func (k statementKind) String() string {
	switch k {
	case kindSelect:
		return "select"
	case kindInsert:
		return "insert"
	case kindSession:
		return "session"
	case kindOther:
	}
	return "other"
}
