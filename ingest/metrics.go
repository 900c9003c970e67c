package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	accepted      *prometheus.CounterVec
	rejected      *prometheus.CounterVec
	ackSeconds    prometheus.Histogram
	inFlightBytes prometheus.Gauge
	limited       prometheus.Counter
	waiting       prometheus.Gauge
	refused       *prometheus.CounterVec
}

// What was accepted.
const (
	kindEvent      = "event"
	kindAdjustment = "adjustment"
	kindDirectory  = "directory"
)

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_ingest_accepted_total",
			Help: "Items that Kafka acknowledged before their request was answered, by kind.",
		}, []string{"kind"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_ingest_rejected_total",
			Help: "Items refused, by the code of their first fault.",
		}, []string{"code"}),
		ackSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:                        "agentmeter_ingest_acknowledge_duration_seconds",
			Help:                        "Time from a batch's handing to the producer to its last acknowledgement by Kafka.",
			Buckets:                     []float64{.002, .005, .01, .015, .02, .03, .05, .1, .25, .5, 1, 2.5, 5, 10, 20},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}),
		inFlightBytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "agentmeter_ingest_in_flight_bytes",
			Help: "Bytes held between a body's arrival and its acknowledgement.",
		}),
		limited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "agentmeter_ingest_rate_limited_total",
			Help: "Requests that were refused because their key had sent too many events a second.",
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "agentmeter_ingest_waiting_requests",
			Help: "Requests that have been read and wait for their turn to be decoded and sent.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_ingest_refused_total",
			Help: "Requests of which nothing was accepted for want of memory or of a turn, by whether their sender had its share (share, 429) or nobody got any (full, 503).",
		}, []string{"of", "why"}),
	}
	for _, of := range [...]string{"memory", "turn"} {
		for _, why := range [...]string{"share", "full"} {
			m.refused.WithLabelValues(of, why)
		}
	}
	for _, kind := range [...]string{kindEvent, kindAdjustment, kindDirectory} {
		m.accepted.WithLabelValues(kind)
	}
	reg.MustRegister(m.accepted, m.rejected, m.ackSeconds, m.inFlightBytes, m.limited, m.waiting, m.refused)
	return m
}
