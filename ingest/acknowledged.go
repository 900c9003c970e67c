package ingest

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// acknowledged remembers how far Kafka has acknowledged each partition of the
// events topic to this process. It is what the audit holds Kafka's log to: a log
// that ends below it has lost what clients were told is safe, as after an
// unclean leader election. The offsets of one producer rise; one that does not
// says the same, even where the log has grown beyond it since.
type acknowledged struct {
	topic  string
	offset *prometheus.Desc
	again  *prometheus.Desc

	mu       sync.Mutex // guards what follows
	ends     []int64    // by partition: the offset after the last, 0 for none
	repeated uint64
}

func newAcknowledged(topic string) *acknowledged {
	return &acknowledged{
		topic: topic,
		offset: prometheus.NewDesc("agentmeter_ingest_acknowledged_offset",
			"Offset after the last record of the events topic that Kafka acknowledged to this process, by partition. Kafka's log may never end below it.", []string{"partition"}, nil),
		again: prometheus.NewDesc("agentmeter_ingest_acknowledged_again_total",
			"Records that Kafka acknowledged at an offset that does not lie above all that it had acknowledged before: its log was cut, and records that clients were told are safe are gone.", nil, nil),
	}
}

// note takes down one acknowledged record.
func (a *acknowledged) note(r *kgo.Record) {
	// A retry that Kafka recognised may come without its offset.
	if r.Topic != a.topic || r.Offset < 0 || r.Partition < 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for int(r.Partition) >= len(a.ends) {
		a.ends = append(a.ends, 0)
	}
	if r.Offset < a.ends[r.Partition] {
		a.repeated++
		return
	}
	a.ends[r.Partition] = r.Offset + 1
}

// Describe implements prometheus.Collector.
func (a *acknowledged) Describe(descs chan<- *prometheus.Desc) {
	descs <- a.offset
	descs <- a.again
}

// Collect implements prometheus.Collector.
func (a *acknowledged) Collect(metrics chan<- prometheus.Metric) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for partition, end := range a.ends {
		if end > 0 {
			metrics <- prometheus.MustNewConstMetric(a.offset, prometheus.GaugeValue, float64(end), strconv.Itoa(partition))
		}
	}
	metrics <- prometheus.MustNewConstMetric(a.again, prometheus.CounterValue, float64(a.repeated))
}
