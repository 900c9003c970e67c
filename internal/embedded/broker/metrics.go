package broker

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	batches   *prometheus.CounterVec
	frames    prometheus.Counter
	retention *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		batches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_broker_batches_total",
			Help: "Record batches that reached the embedded broker, by what their timestamps needed.",
		}, []string{"stamp"}),
		frames: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "agentmeter_broker_refused_frames_total",
			Help: "Connections cut because they did not speak the Kafka protocol.",
		}),
		retention: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_broker_retention_runs_total",
			Help: "Applications of the topics' retention, by outcome.",
		}, []string{"outcome"}),
	}
	for _, stamp := range [...]stampResult{stampLeft, stampShifted, stampRewritten} {
		m.batches.WithLabelValues(string(stamp))
	}
	for _, outcome := range [...]string{"ok", "error"} {
		m.retention.WithLabelValues(outcome)
	}
	r.MustRegister(m.batches, m.frames, m.retention)
	return m
}
