package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
	tables "agentmeter/schemas/clickhouse"
)

// WatchConfig says how often a Watcher audits.
type WatchConfig struct {
	// Interval lies between two audits of what was counted since. 0: none.
	Interval time.Duration
	// FullInterval lies between two audits of everything. 0: none.
	FullInterval time.Duration
	// Settle is for how long a difference is looked at again before it is a
	// finding: longer than the repair of a block of unknown outcome takes.
	Settle time.Duration
	// MaxRows bounds what one audit by increments looks at in a partition; what
	// is beyond twice as much is left to the full audit.
	MaxRows int64
}

// DefaultWatchConfig audits what is new every minute and everything once a day.
func DefaultWatchConfig() WatchConfig {
	return WatchConfig{Interval: time.Minute, FullInterval: 24 * time.Hour, Settle: 30 * time.Second, MaxRows: 2_000_000}
}

// Validate reports everything that is wrong with the configuration.
func (c WatchConfig) Validate() error {
	var faults []error
	for _, d := range []struct {
		name string
		time.Duration
	}{{"interval", c.Interval}, {"full interval", c.FullInterval}, {"settle", c.Settle}} {
		if d.Duration < 0 {
			faults = append(faults, fmt.Errorf("audit: %s: %s is negative", d.name, d.Duration))
		}
	}
	if c.MaxRows < 1 {
		faults = append(faults, fmt.Errorf("audit: rows: %d is not positive", c.MaxRows))
	}
	return errors.Join(faults...)
}

// Owned says which stream this process counts, and which partitions of it.
type Owned func() (stream uuid.UUID, partitions []int32)

// Watcher audits what a process counts for as long as it runs, and says by
// gauges and in the log what is not exact.
//
// Every interval it audits the offsets since the last time, and again every
// stretch in which something was found, until it is exact. From time to time it
// audits everything. A partition that moves to another process takes its
// findings along: whoever owns it audits it.
type Watcher struct {
	config  WatchConfig
	kafka   kafka.Config
	client  *clickhouse.Client
	mutex   Mutex
	owned   Owned
	log     *slog.Logger
	metrics *metrics

	stream  uuid.UUID // of what follows
	watched map[int32]*watched
	full    []Finding // of the last full audit
	said    map[Finding]bool
	failing map[string]bool // kinds whose last audit could not tell
	erasing string          // unfinished erasures that were said
}

// watched is what the watcher knows of a partition.
type watched struct {
	begun    bool
	position int64   // offsets below it were audited
	lastEnd  int64   // where the ledger ended when last looked at
	logEnd   int64   // the highest end of the log that was seen
	open     []found // stretches that were not exact
	log      []Finding
}

// found is a stretch of offsets in which something was found.
type found struct {
	lo, hi   int64
	findings []Finding
}

// maxOpen is how many stretches with findings are kept apart in a partition.
const maxOpen = 8

// NewWatcher prepares a watcher; Run runs it.
func NewWatcher(config WatchConfig, kafkaConfig kafka.Config, client *clickhouse.Client, mutex Mutex, owned Owned, log *slog.Logger, registerer prometheus.Registerer) (*Watcher, error) {
	if err := errors.Join(config.Validate(), kafkaConfig.Validate()); err != nil {
		return nil, err
	}
	return &Watcher{
		config: config, kafka: kafkaConfig, client: client, mutex: mutex, owned: owned, log: log, metrics: newMetrics(registerer),
		watched: map[int32]*watched{}, said: map[Finding]bool{}, failing: map[string]bool{},
	}, nil
}

// How soon everything is audited after a start, and after a full audit that
// found something or could not tell.
const fullSoon = 10 * time.Minute

// Run audits until ctx ends and returns nil. What cannot be audited is logged
// and tried again.
func (w *Watcher) Run(ctx context.Context) error {
	broker, err := kgo.NewClient(w.kafka.Options(w.log)...)
	if err != nil {
		return fmt.Errorf("audit: connect: %w", err)
	}
	defer broker.Close()
	admin := kadm.NewClient(broker)

	increments, full := never(), never()
	if w.config.Interval > 0 {
		increments = time.NewTimer(w.config.Interval)
	}
	if w.config.FullInterval > 0 {
		full = time.NewTimer(spread(min(fullSoon, w.config.FullInterval)))
	}
	defer increments.Stop()
	defer full.Stop()
	// A full audit takes its time, during which the increments go on.
	verdicts := make(chan verdict)
	running := false
	defer func() {
		if running {
			<-verdicts
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-increments.C:
			began := time.Now()
			w.conclude(ctx, kindIncrement, began, w.increments(ctx, admin))
			increments.Reset(w.config.Interval)
		case <-full.C:
			if options, some := w.fullOptions(); some {
				running = true
				go func() {
					began := time.Now()
					report, err := run(ctx, w.client, admin, options)
					verdicts <- verdict{began, report, err}
				}()
			} else {
				full.Reset(spread(min(fullSoon, w.config.FullInterval)))
			}
		case v := <-verdicts:
			running = false
			wait := w.config.FullInterval
			if err := w.takeFull(v); !w.conclude(ctx, kindFull, v.began, err) || len(w.full) > 0 {
				wait = min(wait, fullSoon)
			}
			full.Reset(spread(wait))
		}
	}
}

// verdict is what a full audit came to.
type verdict struct {
	began  time.Time
	report *Report
	err    error
}

func never() *time.Timer {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return timer
}

// spread keeps the processes of a group from auditing everything at once.
func spread(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/4+1)) //nolint:gosec // not a secret
}

// conclude takes note of how an audit ended and reports whether it came to a
// verdict.
func (w *Watcher) conclude(ctx context.Context, kind string, began time.Time, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		if !w.failing[kind] {
			w.log.WarnContext(ctx, "audit could not tell; trying again", "kind", kind, "error", err)
		}
		w.failing[kind] = true
		return false
	}
	w.failing[kind] = false
	w.metrics.duration.WithLabelValues(kind).Observe(time.Since(began).Seconds())
	w.metrics.lastSuccess.WithLabelValues(kind).SetToCurrentTime()
	w.publish(ctx)
	return true
}

// publish sets the gauges and logs each finding once.
func (w *Watcher) publish(ctx context.Context) {
	current := map[Finding]bool{}
	for _, f := range w.full {
		current[f] = true
	}
	for _, s := range w.watched {
		for _, f := range s.log {
			current[f] = true
		}
		for _, o := range s.open {
			for _, f := range o.findings {
				current[f] = true
			}
		}
	}
	counts := map[string]int{}
	for f := range current {
		counts[f.Check]++
		if !w.said[f] {
			w.log.ErrorContext(ctx, "audit: not exact; see \"A finding\" in docs/counting.md for what to do",
				"check", f.Check, "table", f.Table, "stream", f.Stream, "partition", f.Partition, "detail", f.Detail)
		}
	}
	for _, check := range Checks {
		w.metrics.findings.WithLabelValues(check).Set(float64(counts[check]))
	}
	if len(w.said) > 0 && len(current) == 0 {
		w.log.InfoContext(ctx, "audit: exact again")
	}
	w.said = current
}

// own forgets what is not this process's any more and returns what is.
func (w *Watcher) own() []int32 {
	stream, partitions := w.owned()
	if stream != w.stream {
		for partition := range w.watched {
			w.metrics.forget(partition)
		}
		w.stream, w.watched, w.full = stream, map[int32]*watched{}, nil
	}
	for partition := range w.watched {
		if !slices.Contains(partitions, partition) {
			delete(w.watched, partition)
			w.metrics.forget(partition)
			w.full = slices.DeleteFunc(w.full, func(f Finding) bool { return f.Stream == stream && f.Partition == partition })
		}
	}
	for _, partition := range partitions {
		if w.watched[partition] == nil {
			w.watched[partition] = &watched{}
		}
	}
	return partitions
}

// increments audits what was counted since the last time.
func (w *Watcher) increments(ctx context.Context, admin *kadm.Client) error {
	partitions := w.own()
	if w.stream == uuid.Nil {
		return errors.New("no stream is counted yet")
	}
	streams, err := readStreams(ctx, w.client)
	if err != nil {
		return err
	}
	known := slices.IndexFunc(streams, func(s stream) bool { return s.id == w.stream })
	if known < 0 {
		return fmt.Errorf("stream %s is not known to the ledger", w.stream)
	}
	live, err := kafka.DescribeStream(ctx, admin, kafka.TopicEvents)
	if err != nil {
		return err
	}
	var faults []error
	bounds := logBounds{admin: admin, topic: kafka.TopicEvents}
	for _, partition := range partitions {
		if int(partition) >= len(streams[known].starts) {
			continue // the rollup has halted on it
		}
		p := Partition{Stream: w.stream, Topic: kafka.TopicEvents, Partition: partition, Start: streams[known].starts[partition]}
		if err := w.increment(ctx, p); err != nil {
			faults = append(faults, fmt.Errorf("partition %d: %w", partition, err))
			continue
		}
		if live.ID != w.stream {
			continue // the rollup has halted, and says so
		}
		if err := w.joins(ctx, &bounds, p); err != nil {
			faults = append(faults, fmt.Errorf("log of partition %d: %w", partition, err))
		}
	}
	if err := w.erasures(ctx); err != nil {
		faults = append(faults, fmt.Errorf("erasures: %w", err))
	}
	w.own() // what was lost meanwhile is not ours to speak of
	return errors.Join(faults...)
}

// erasures says which erased workspaces there is something of, where this process
// looks at what belongs to no one partition.
func (w *Watcher) erasures(ctx context.Context) error {
	unfinished := []UnfinishedErasure{}
	if w.watched[0] != nil {
		var err error
		if unfinished, err = w.auditor(0).erasures(ctx, false); err != nil {
			return err
		}
	}
	w.metrics.unfinished.Set(float64(len(unfinished)))
	said := ""
	if len(unfinished) > 0 {
		said = fmt.Sprint(unfinished)
	}
	if said != w.erasing && said != "" {
		w.log.WarnContext(ctx, "audit: erased workspaces have rows; if agentmeter erase does not run, agentmeter erase --again --yes removes them", "erasures", unfinished)
	}
	w.erasing = said
	return nil
}

func (w *Watcher) auditor(settle time.Duration) *auditor {
	return newAuditor(w.client, Options{Mutex: w.mutex, Settle: settle, threads: 1})
}

// increment audits one partition: what was found before, and what is new.
func (w *Watcher) increment(ctx context.Context, p Partition) error {
	s := w.watched[p.Partition]
	end, err := w.auditor(0).end(ctx, p)
	if err != nil {
		return err
	}
	if !s.begun || end.position < s.position { // at first, or set back by hand
		s.begun, s.position = true, end.lo
	}
	// The last block may be in doubt: it is audited once another one follows,
	// or after it has been the last for an interval.
	hi := end.lo
	if end.position == s.lastEnd {
		hi = end.position
	}
	s.lastEnd = end.position
	if hi-s.position > 2*w.config.MaxRows {
		w.metrics.skipped.Add(float64(hi - w.config.MaxRows - s.position))
		s.position = hi - w.config.MaxRows
	}
	hi = min(hi, s.position+w.config.MaxRows)

	reopened := s.open
	s.open = nil
	for i, o := range reopened { // which need not settle: they are said already
		if err := w.stretch(ctx, p, s, o.lo, o.hi, 0); err != nil {
			s.open = append(s.open, reopened[i:]...)
			return err
		}
	}
	if s.position < hi {
		if err := w.stretch(ctx, p, s, s.position, hi, w.config.Settle); err != nil {
			return err
		}
		s.position = hi
	}
	w.metrics.position.WithLabelValues(strconv.Itoa(int(p.Partition))).Set(float64(s.position))
	return nil
}

// stretch audits the offsets [lo, hi) and keeps what it finds.
func (w *Watcher) stretch(ctx context.Context, p Partition, s *watched, lo, hi int64, settle time.Duration) error {
	a := w.auditor(settle)
	if err := errors.Join(a.span(ctx, p, lo, hi), a.touched(ctx, p, lo, hi)); err != nil {
		return err
	}
	if len(a.findings) == 0 {
		return nil
	}
	if len(s.open) == maxOpen { // the last one reaches as far as it must
		last := &s.open[maxOpen-1]
		last.lo, last.hi = min(last.lo, lo), max(last.hi, hi)
		last.findings = append(last.findings, a.findings...)
		return nil
	}
	s.open = append(s.open, found{lo, hi, a.findings})
	return nil
}

// joins checks that Kafka's log joins on to the ledger, and never got shorter.
func (w *Watcher) joins(ctx context.Context, bounds *logBounds, p Partition) error {
	s := w.watched[p.Partition]
	a := w.auditor(0)
	p.Position = s.lastEnd
	if err := a.bounds(ctx, bounds, &p); err != nil {
		return err
	}
	if len(a.unclear) > 0 {
		return errors.New(a.unclear[0])
	}
	if p.LogEnd < s.logEnd {
		a.find(p, CheckLog, tables.Ledger, "Kafka's log ended at offset %d and ends at %d now: it has lost records", s.logEnd-1, p.LogEnd-1)
	}
	s.logEnd = max(s.logEnd, p.LogEnd)
	s.log = a.findings
	w.metrics.logEnd.WithLabelValues(strconv.Itoa(int(p.Partition))).Set(float64(p.LogEnd))
	return nil
}

// restOfFull is how many times as long as it worked a full audit rests: it
// takes a fifth of one thread of the engine.
const restOfFull = 4

// fullOptions say what a full audit of this process is of: what it counts. What
// belongs to no one partition is looked at by whoever owns the first. some is
// false where there is nothing.
func (w *Watcher) fullOptions() (options Options, some bool) {
	partitions := w.own()
	if w.stream == uuid.Nil || len(partitions) == 0 {
		w.full = nil
		return Options{}, false
	}
	return Options{
		Mutex: w.mutex, Settle: w.config.Settle,
		only: partitions, whole: slices.Contains(partitions, 0), rest: restOfFull, threads: 1,
	}, true
}

// takeFull keeps what a full audit found.
func (w *Watcher) takeFull(v verdict) error {
	if v.err != nil {
		return v.err
	}
	w.full = v.report.Findings
	w.own() // what was lost meanwhile is not ours to speak of
	if len(v.report.Unclear) > 0 {
		return errors.New(v.report.Unclear[0])
	}
	return nil
}
