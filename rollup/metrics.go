package rollup

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"agentmeter/schemas"
)

type metrics struct {
	rows          *prometheus.CounterVec
	blockRows     prometheus.Histogram
	blockSeconds  prometheus.Histogram
	doubts        prometheus.Counter
	reconciled    prometheus.Counter
	stale         prometheus.Counter
	setBacks      prometheus.Counter
	sessionErrors prometheus.Counter
	deadLetters   *prometheus.CounterVec
	repaired      prometheus.Counter
	visible       prometheus.Histogram
	takeOver      prometheus.Histogram
	halted        *prometheus.GaugeVec
	lagRecords    *prometheus.GaugeVec
	through       *prometheus.GaugeVec
	owned         prometheus.Gauge
	partitions    prometheus.Gauge
	adopted       prometheus.Gauge
	retention     *prometheus.GaugeVec // without labels: absent until it is known
	directory     prometheus.Counter
	idLookups     *prometheus.CounterVec
	idLookupTime  prometheus.Histogram
	idLoadTime    prometheus.Histogram
	idsHeld       *prometheus.GaugeVec
	idBytes       *prometheus.GaugeVec
	idsComplete   *prometheus.GaugeVec
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
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		})
		registerer.MustRegister(h)
		return h
	}
	m := &metrics{
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_rollup_rows_total", Help: "Ledger rows confirmed, by outcome.",
		}, []string{"outcome"}),
		blockRows:     histogram("block_rows", "Rows of a confirmed block.", prometheus.ExponentialBuckets(1, 4, 9)),
		blockSeconds:  histogram("block_duration_seconds", "Time to append a block, doubts included.", prometheus.ExponentialBuckets(0.004, 2, 12)),
		doubts:        counter("doubts_total", "Block inserts that did not simply succeed, so that the ledger's end was read."),
		reconciled:    counter("reconciles_total", "Blocks whose views were reconciled with the ledger."),
		stale:         counter("stale_total", "Times that a partition was found appended by another consumer."),
		setBacks:      counter("set_backs_total", "Times that a partition's ledger was found set back, and its views were made equal to it."),
		sessionErrors: counter("session_errors_total", "Times that counting a partition was interrupted by an error and started over."),
		repaired:      counter("reconciled_rows_total", "Rows that reconciles and repairs after a set-back added to views that differed from the ledger."),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_rollup_dead_letters_total", Help: "Records sent to the dead-letter topic, by why they cannot be counted.",
		}, []string{"code"}),
		visible: histogram("event_visible_duration_seconds",
			"Time from the broker's storing of a batch of records to the publishing of progress that covers it, from when on answers have it and say so. One observation for each batch as the broker stored it.",
			[]float64{.1, .2, .3, .5, .75, 1.5, 2.5, 5.5, 10.5, 30.5, 60.5, 300.5, 3600.5}),
		takeOver: histogram("take_over_duration_seconds", "Time to take a partition over, reconcile included.", prometheus.ExponentialBuckets(0.004, 2, 12)),
		halted: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentmeter_rollup_halted", Help: "1 where a partition stands still because going on would be guessing.",
		}, []string{"partition"}),
		lagRecords: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentmeter_rollup_lag_records", Help: "Records in Kafka that are not confirmed yet.",
		}, []string{"partition"}),
		through: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentmeter_rollup_counted_through_timestamp_seconds", Help: "Everything that was acknowledged before is counted, as it was last published for readers.",
		}, []string{"partition"}),
		owned:      gauge("partitions_owned", "Partitions of the events topic that this process counts."),
		partitions: gauge("partitions", "Partitions of the events topic that is counted, whoever counts them."),
		adopted:    gauge("stream_adopted_timestamp_seconds", "When the events topic that is counted was adopted: at the first start, or by adopt-topic after a cut-over."),
		retention: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentmeter_rollup_topic_retention_seconds", Help: "For how long Kafka keeps events, as the topic is configured; absent until Kafka says so.",
		}, nil),
		directory: counter("directory_changes_total", "Directory changes stored."),
		idLookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentmeter_rollup_id_lookups_total", Help: "Ids looked up in ClickHouse because memory could not tell whether they are new, by whether they were found.",
		}, []string{"found"}),
		idLookupTime: histogram("id_lookup_duration_seconds", "Time to look up the ids of a block that memory could not tell.", prometheus.ExponentialBuckets(0.002, 2, 13)),
		idLoadTime:   histogram("id_filter_load_duration_seconds", "Time to load an id filter.", prometheus.ExponentialBuckets(0.016, 2, 14)),
		idsHeld: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentmeter_rollup_id_filter_ids", Help: "Ids in the filter; past --hot-ids it loses precision, and more ids are looked up.",
		}, []string{"partition"}),
		idBytes: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentmeter_rollup_id_filter_bytes", Help: "Memory of the id filter.",
		}, []string{"partition"}),
		idsComplete: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentmeter_rollup_id_filter_complete", Help: "1 where the id filter is loaded; without it every id is looked up.",
		}, []string{"partition"}),
	}
	for outcome := schemas.OutcomeCounted; outcome < schemas.OutcomeErased; outcome++ {
		m.rows.WithLabelValues(outcome.String())
	}
	for _, code := range [...]string{schemas.CodeUndecodable, schemas.CodeWrongPartition, schemas.CodePayloadConflict} {
		m.deadLetters.WithLabelValues(code)
	}
	for _, found := range [...]string{"yes", "no"} {
		m.idLookups.WithLabelValues(found)
	}
	registerer.MustRegister(m.rows, m.deadLetters, m.through, m.halted, m.lagRecords, m.retention, m.idLookups, m.idsHeld, m.idBytes, m.idsComplete)
	return m
}

// counted notes a confirmed block, and the dead letters that were sent of it, by code.
func (m *metrics) counted(rows []row, letters map[string]int, took time.Duration) {
	m.blockSeconds.Observe(took.Seconds())
	m.blockRows.Observe(float64(len(rows)))
	var counts [schemas.OutcomeErased + 1]int
	for i := range rows {
		counts[rows[i].outcome]++
	}
	for outcome, n := range counts {
		if n > 0 {
			m.rows.WithLabelValues(schemas.Outcome(outcome).String()).Add(float64(n))
		}
	}
	for code, n := range letters {
		m.deadLetters.WithLabelValues(code).Add(float64(n))
	}
}

// idMetrics are those of one partition's knownIDs. A nil one counts nothing.
type idMetrics struct {
	*metrics
	partition string
}

func (m *metrics) ids(partition string) *idMetrics {
	m.idsComplete.WithLabelValues(partition).Set(0)
	return &idMetrics{m, partition}
}

func (m *idMetrics) lookedUp(ids, found int, took time.Duration) {
	if m == nil {
		return
	}
	m.idLookups.WithLabelValues("yes").Add(float64(found))
	m.idLookups.WithLabelValues("no").Add(float64(ids - found))
	m.idLookupTime.Observe(took.Seconds())
}

func (m *idMetrics) loaded(f *idFilter, took time.Duration) {
	if m == nil {
		return
	}
	m.idLoadTime.Observe(took.Seconds())
	m.holds(f)
	m.idsComplete.WithLabelValues(m.partition).Set(1)
}

func (m *idMetrics) holds(f *idFilter) {
	if m == nil {
		return
	}
	m.idsHeld.WithLabelValues(m.partition).Set(float64(f.held))
	m.idBytes.WithLabelValues(m.partition).Set(float64(f.bytes()))
}

// forget takes back what was said of a filter that is gone.
func (m *idMetrics) forget() {
	if m == nil {
		return
	}
	for _, gauge := range []*prometheus.GaugeVec{m.idsHeld, m.idBytes, m.idsComplete} {
		gauge.DeleteLabelValues(m.partition)
	}
}

// lag exports what is only known when somebody asks.
type lag struct {
	rollup            *Rollup
	seconds, blockAge *prometheus.Desc
}

func newLag(r *Rollup) *lag {
	return &lag{
		rollup: r,
		seconds: prometheus.NewDesc("agentmeter_rollup_lag_seconds",
			"Age of counted_through, as it was last published for readers, of that partition of this process which is furthest behind.", nil, nil),
		blockAge: prometheus.NewDesc("agentmeter_rollup_block_age_seconds",
			"For how long this process has been trying to append the block that has been under way the longest; 0 where none is.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (l *lag) Describe(descs chan<- *prometheus.Desc) {
	descs <- l.seconds
	descs <- l.blockAge
}

// Collect implements prometheus.Collector.
func (l *lag) Collect(metrics chan<- prometheus.Metric) {
	now := time.Now()
	var behind, trying time.Duration
	for _, worker := range l.rollup.ownedPartitions() {
		state := worker.state()
		through := state.through
		if through.IsZero() {
			through = worker.since
		}
		behind = max(behind, now.Sub(through))
		if !state.appending.IsZero() {
			trying = max(trying, now.Sub(state.appending))
		}
	}
	metrics <- prometheus.MustNewConstMetric(l.seconds, prometheus.GaugeValue, behind.Seconds())
	metrics <- prometheus.MustNewConstMetric(l.blockAge, prometheus.GaugeValue, trying.Seconds())
}
