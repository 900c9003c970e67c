package httpapi

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	problems *prometheus.CounterVec
}

// newMetrics registers the instruments of one router. Routes are the patterns
// of the contract and problem codes are constants of the program, so both
// labels are bounded.
func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_http_requests_total",
			Help: "Requests answered, by route pattern and status code.",
		}, []string{"route", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                        "agentmeter_http_request_duration_seconds",
			Help:                        "Time from a request's headers to the end of its answer, by route pattern.",
			Buckets:                     []float64{.0005, .001, .002, .005, .01, .015, .025, .04, .1, .25, .5, 1, 2.5, 5, 10, 30},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "agentmeter_http_requests_in_flight",
			Help: "Requests being served now, open event streams included.",
		}),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_http_problems_total",
			Help: "Problem documents sent, by their code.",
		}, []string{"code"}),
	}
	m.requests = registered(reg, m.requests)
	m.duration = registered(reg, m.duration)
	m.inFlight = registered(reg, m.inFlight)
	m.problems = registered(reg, m.problems)
	return m
}

// registered registers c, or returns the one that another router of the
// process has registered already: a metrics listener has a router of its own.
func registered[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if err := reg.Register(c); err != nil {
		var already prometheus.AlreadyRegisteredError
		if errors.As(err, &already) {
			if existing, ok := already.ExistingCollector.(C); ok {
				return existing
			}
		}
		panic(err) // two metrics of one name: a mistake of the program's
	}
	return c
}

func (m *metrics) observe(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(route).Observe(took.Seconds())
}
