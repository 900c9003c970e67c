package audit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	tables "agentmeter/schemas/clickhouse"
)

func TestLogThatDoesNotAnswerIsUnclearAndTheOthersAreAudited(t *testing.T) {
	w := newWorld(t, 1)
	w.block(0, someEvents("a", 3, time.Now().UTC())...)
	w.fill(1)
	w.sayLogEnds(func(partition int32) (int64, *kerr.Error) {
		if partition == 2 {
			return 0, kerr.UnknownServerError
		}
		return 4, nil
	})
	report := w.audit(Options{})
	if report.Exact || len(report.Findings) > 0 || len(report.Unclear) != 1 || !strings.Contains(report.Unclear[0], "/2") {
		t.Errorf("exact %v, findings %v, unclear %v", report.Exact, report.Findings, report.Unclear)
	}
	for _, p := range report.Partitions {
		if want := map[bool]int64{true: -1, false: 4}[p.Partition == 2]; p.LogEnd != want {
			t.Errorf("partition %d: log ends at %d, want %d", p.Partition, p.LogEnd, want)
		}
	}
}

func TestLogThatLostAcknowledgedRecordsIsFound(t *testing.T) {
	w := newWorld(t, 1)
	w.block(1, someEvents("a", 3, time.Now().UTC())...)
	w.fill(2) // the log of partition 1 ends at 5, of the others at 2
	metrics := ""
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, metrics) }))
	defer server.Close()
	for _, test := range []struct {
		name, metrics string
		want          []string // parts of findings
	}{
		{"all there", metricRepeated + " 0\n" + metricAcknowledged + "{partition=\"1\"} 5\n", nil},
		{"log is shorter", metricRepeated + " 0\n" + metricAcknowledged + "{partition=\"1\"} 9\n" + metricAcknowledged + "{partition=\"2\"} 2\n", []string{"lost 4 records"}},
		{"offsets given twice", metricRepeated + " 7\n", []string{"7 offsets"}},
	} {
		metrics = test.metrics
		said, err := ReadAcknowledged(t.Context(), server.Client(), server.URL, "")
		if err != nil {
			t.Fatal(err)
		}
		report := w.audit(Options{Acknowledged: []Acknowledged{said}})
		if len(report.Findings) != len(test.want) {
			t.Errorf("%s: %+v", test.name, report.Findings)
			continue
		}
		for i, f := range report.Findings {
			if f.Check != CheckLog || !strings.Contains(f.Detail, test.want[i]) {
				t.Errorf("%s: %+v", test.name, f)
			}
		}
	}
	metrics = "something_else 1\n"
	if _, err := ReadAcknowledged(t.Context(), server.Client(), server.URL, ""); err == nil {
		t.Error("metrics of something else were taken for those of ingest")
	}
}

func TestLedgerAheadOfItsLogIsFound(t *testing.T) {
	w := newWorld(t, 1)
	w.block(0, someEvents("a", 9, time.Now().UTC())...)
	ends := w.ends
	w.ends[0] = 5
	w.fill(0)
	w.ends = ends
	report := w.audit(Options{})
	if got := where(report); len(got) != 1 || !got[CheckLog+" "+tables.Ledger] || report.Records.Waiting != -4 {
		t.Errorf("found %+v, records %+v", report.Findings, report.Records)
	}
}

func TestAnEmptyLedgerIsExact(t *testing.T) {
	w := newWorld(t, 1)
	w.exec("TRUNCATE TABLE usage_streams")
	if report := w.audit(Options{}); !report.Exact || report.Partitions == nil || report.Findings == nil || report.Unclear == nil {
		t.Errorf("%+v", report)
	}
}

func TestAuditStopsWhenToldTo(t *testing.T) {
	w := newWorld(t, 1)
	w.block(0, someEvents("a", 9, time.Now().UTC())...)
	w.fill(0)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	steps := 0
	_, err := Run(ctx, w.client, w.admin, Options{Mutex: testMutex, Progress: func(Progress) {
		if steps++; steps == 3 {
			cancel(stop)
		}
	}})
	if err == nil || steps > 4 {
		t.Errorf("%v after %d steps", err, steps)
	}
}

func TestProgressCountsEveryStep(t *testing.T) {
	w := newWorld(t, 1)
	w.block(0, someEvents("a", 3, time.Now().UTC())...)
	w.fill(0)
	var last Progress
	w.audit(Options{Progress: func(p Progress) {
		if p.Done != last.Done+1 || p.Step == "" {
			t.Errorf("step %+v after %+v", p, last)
		}
		last = p
	}})
	if last.Done != last.Steps {
		t.Errorf("%d of %d steps", last.Done, last.Steps)
	}
}

// A rollup that nobody chains to the ledger would not be watched.
func TestEveryRollupIsComparedInBothWays(t *testing.T) {
	for name, list := range map[string][]comparison{"direct": fromLedger(), "chained": chained()} {
		for _, rollup := range tables.Rollups {
			var sources []string
			for _, c := range list {
				if c.Table == rollup.Table {
					source := ""
					if c.source != nil {
						source = c.source.Table
						if !slices.ContainsFunc(list, func(finer comparison) bool { return finer.Table == source }) {
							t.Errorf("%s: %s is compared with %s, which is compared with nothing", name, rollup.Table, source)
						}
						if time.Duration(c.Step)%time.Duration(c.source.Step) != 0 || c.Outcomes != c.source.Outcomes {
							t.Errorf("%s: %s is no sum of %s", name, rollup.Table, source)
						}
					}
					sources = append(sources, source)
				}
			}
			if len(sources) == 0 {
				t.Errorf("%s: %s is compared with nothing", name, rollup.Table)
			}
		}
	}
}

func TestRangesAreJoinedWithoutLosingAny(t *testing.T) {
	var hours []timeRange
	for i := range int64(100) {
		hours = append(hours, timeRange{i * i * 3600, i*i*3600 + 3600})
	}
	joined := clustered(slices.Clone(hours))
	if len(joined) > maxRanges {
		t.Errorf("%d ranges", len(joined))
	}
	for _, h := range hours {
		if !slices.ContainsFunc(joined, func(r timeRange) bool { return r.from <= h.from && h.to <= r.to }) {
			t.Errorf("%v is in none of %v", h, joined)
		}
	}
	for _, r := range aligned(joined, 86400) {
		if r.from%86400 != 0 || r.to%86400 != 0 {
			t.Errorf("%v is no whole days", r)
		}
	}
	if got := clustered([]timeRange{{7200, 10800}, {0, 3600}, {3600, 7200}}); len(got) != 1 || got[0] != (timeRange{0, 10800}) {
		t.Errorf("neighbours: %v", got)
	}
}
