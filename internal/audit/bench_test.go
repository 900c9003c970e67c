package audit

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"agentmeter/internal/kafka"
)

var benchRows = flag.Int("rows", 200_000, "how many events the benchmark's ledger has; 10000000 is worth a try")

// grow fills the ledger with n counted events of 100 workspaces of ten agents
// over a hundred days, in blocks of 50,000 for each
// partition.
func (w *world) grow(n int) {
	w.t.Helper()
	const block = 200_000
	for lo := 0; lo < n; lo += block {
		size := min(block, n-lo)
		for p := range worldPartitions {
			first, last := lo/worldPartitions, (lo+size)/worldPartitions
			w.exec(fmt.Sprintf(`INSERT INTO usage_ledger (stream, partition, offset, block_lo, block_hi, block_day, kafka_time, event_id, outcome, workspace, agent, channel, occurred_at, credits, messages)
SELECT '%s', %d, number, %d, %d, '2026-11-24', now64(3), concat('event-%d-', toString(number)), 'counted', concat('ws_', toString(cityHash64(number) %% 100)), concat('agt_', toString(cityHash64(number) %% 100 * 10 + cityHash64(number, 1) %% 10)), 'embed',
 now64(6, 'UTC') - toIntervalMillisecond(intDiv((%d - number * %d) * 8640, %d) * 1000), 1500000, 1 FROM numbers(%d, %d) SETTINGS async_insert = 0`,
				w.stream, p, first, last, p, n, worldPartitions, max(1, n/1000), first, last-first))
			w.ends[p] = int64(last)
		}
	}
}

// BenchmarkAudit audits everything. The report beside it says which steps take
// the time, and how much memory the engine had.
func BenchmarkAudit(b *testing.B) {
	w := newWorld(b, 1)
	began := time.Now()
	w.grow(*benchRows)
	w.acknowledge()
	b.Logf("%d rows in %s", *benchRows, time.Since(began).Round(time.Second))
	steps := map[string]time.Duration{}
	for b.Loop() {
		clear(steps)
		report := w.audit(Options{Progress: func(p Progress) {
			name := p.Step
			var topic string
			var partition int
			if n, _ := fmt.Sscanf(name, kafka.TopicEvents+"/%d:", &partition); n == 1 {
				topic = fmt.Sprintf("%s/%d: ", kafka.TopicEvents, partition)
			}
			steps[name[len(topic):]] += p.Took
		}})
		if !report.Exact {
			b.Fatalf("%+v %v", report.Findings, report.Unclear)
		}
	}
	for name, took := range steps {
		b.Logf("%-28s %s", name, took.Round(time.Millisecond))
	}
	b.ReportMetric(float64(*benchRows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkIncrement audits ten thousand new events of a partition, as a rollup
// does every minute. Held is how long the partition's mutex was held at a time.
func BenchmarkIncrement(b *testing.B) {
	w := newWorld(b, 1)
	w.grow(*benchRows)
	w.acknowledge()
	p := Partition{Stream: w.stream, Topic: kafka.TopicEvents}
	hi := w.ends[0]
	lo := max(0, hi-10_000)
	for b.Loop() {
		a := newAuditor(w.client, Options{Mutex: testMutex, threads: 1, heldFor: func(d time.Duration) {
			b.Logf("held for %s", d)
		}})
		if err := a.touched(b.Context(), p, lo, hi); err != nil || len(a.findings) > 0 {
			b.Fatal(err, a.findings)
		}
	}
}
