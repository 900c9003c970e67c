package audit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"agentmeter/internal/slowtest"
)

// watch is a watcher whose audits a test runs by hand.
type watch struct {
	*Watcher
	w   *world
	own []int32
	log bytes.Buffer
}

func (w *world) watch(settle time.Duration) *watch {
	w.t.Helper()
	config := DefaultWatchConfig()
	config.Settle = settle
	x := &watch{w: w, own: []int32{0, 1, 2, 3}}
	log := slog.New(slog.NewTextHandler(&x.log, &slog.HandlerOptions{Level: slog.LevelError}))
	var err error
	x.Watcher, err = NewWatcher(config, w.kafka, w.client, testMutex, func() (uuid.UUID, []int32) { return w.stream, x.own }, log, prometheus.NewRegistry())
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

// increment audits what is new, and fails the test if it could not tell.
func (x *watch) increment() {
	x.w.t.Helper()
	if err := x.increments(x.w.t.Context(), x.w.admin); !x.conclude(x.w.t.Context(), kindIncrement, time.Now(), err) {
		x.w.t.Fatal(err)
	}
}

func (x *watch) want(check string, n float64) {
	x.w.t.Helper()
	if got := testutil.ToFloat64(x.metrics.findings.WithLabelValues(check)); got != n {
		x.w.t.Errorf("%s: %v findings, want %v: %v", check, got, n, x.said)
	}
}

func someEvents(prefix string, n int, at time.Time) []event {
	var events []event
	for i := range n {
		events = append(events, event{
			id: fmt.Sprintf("%s%d", prefix, i), outcome: "counted", workspace: "ws_a", agent: "agt_1",
			at: at.Add(-time.Duration(i) * time.Minute), credits: 1_500_000, messages: 1,
		})
	}
	return events
}

func TestGaugesRiseWithADifferenceAndFallWithItsRepair(t *testing.T) {
	w := newWorld(t, 1)
	now := time.Now().UTC()
	w.block(1, someEvents("a", 10, now)...)
	w.block(1, someEvents("b", 10, now)...)
	w.fill(100)
	x := w.watch(0)
	x.increment()
	w.block(1, someEvents("c", 10, now)...)
	w.block(1, someEvents("d", 10, now)...)
	x.increment()
	x.want(CheckRollup, 0)
	if got := testutil.ToFloat64(x.metrics.position.WithLabelValues("1")); got != 30 {
		t.Errorf("audited up to %v, want the beginning of the last block", got)
	}

	shift := "INSERT INTO usage_hour SELECT workspace, toStartOfHour(occurred_at), agent, stream, partition, %s1, 0, 0 FROM usage_ledger WHERE event_id = 'd0'"
	w.exec(fmt.Sprintf(shift, ""))
	x.increment() // the last block has been the last for an interval
	x.want(CheckRollup, 1)
	x.increment()
	x.increment()
	x.want(CheckRollup, 1)
	if n := strings.Count(x.log.String(), "not exact"); n != 1 {
		t.Errorf("said %d times, want once:\n%s", n, x.log.String())
	}
	if !strings.Contains(x.log.String(), "usage_hour") || strings.Contains(x.log.String(), "usage_day") {
		t.Errorf("blames %s", x.log.String())
	}
	w.exec(fmt.Sprintf(shift, "-"))
	x.increment()
	x.want(CheckRollup, 0)
}

// The last block may be short in its views until its consumer, or the next one,
// has repaired it.
func TestBlockInDoubtIsNoFinding(t *testing.T) {
	w := newWorld(t, 1)
	w.block(0, someEvents("a", 5, time.Now().UTC())...)
	w.fill(100)
	x := w.watch(time.Minute) // longer than two looks take, so that the second finds it in doubt still
	x.increment()
	w.block(0, someEvents("b", 5, time.Now().UTC().Add(-100*time.Hour))...)
	short := "INSERT INTO usage_day SELECT workspace, toStartOfDay(occurred_at), agent, stream, partition, %[1]scredits, %[1]smessages, %[1]s1 FROM usage_ledger WHERE event_id LIKE 'b%%'"
	w.exec(fmt.Sprintf(short, "-"))
	x.increment()
	x.want(CheckRollup, 0)
	// Its owner takes a while: it is looked at again.
	repaired := make(chan struct{})
	go func() {
		defer close(repaired)
		w.exec(fmt.Sprintf(short, ""))
	}()
	x.increment()
	<-repaired
	x.want(CheckRollup, 0)
}

func TestOffsetsAndIDsAndLogAreWatched(t *testing.T) {
	w := newWorld(t, 1)
	now := time.Now().UTC()
	w.block(0, someEvents("a", 5, now)...)
	w.fill(10)
	x := w.watch(0)
	x.increment()
	w.block(2, someEvents("b", 5, now)...)
	w.block(2, someEvents("a", 1, now)...) // counted in partition 0 already
	w.block(0, someEvents("c", 5, now)...)
	w.exec("ALTER TABLE usage_ledger DELETE WHERE partition = 0 AND offset = 7")
	x.watched[3].logEnd = 1000 // as of an earlier look
	x.increment()
	x.increment()
	x.want(CheckIDs, 1)
	x.want(CheckOffsets, 1)
	x.want(CheckLog, 1)

	// What moves to another process is that one's to speak of.
	x.own = []int32{1}
	x.increment()
	for _, check := range Checks {
		x.want(check, 0)
	}
}

func TestWatcherRunsBothKindsAndStops(t *testing.T) {
	slowtest.Begin(t)
	w := newWorld(t, 1)
	w.block(0, someEvents("a", 5, time.Now().UTC())...)
	w.fill(1)
	x := w.watch(0)
	x.config.Interval, x.config.FullInterval = time.Millisecond, time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	deadline := time.Now().Add(time.Minute)
	for _, kind := range []string{kindIncrement, kindFull} {
		for testutil.ToFloat64(x.metrics.lastSuccess.WithLabelValues(kind)) == 0 {
			if time.Now().After(deadline) {
				t.Fatalf("no audit of kind %s", kind)
			}
			<-time.After(5 * time.Millisecond)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// What an erasure has not reached yet is said, and is no inexactness.
func TestUnfinishedErasuresAreReportedAndAreNotInexact(t *testing.T) {
	w := newWorld(t, 1)
	now := time.Now().UTC()
	w.block(0, someEvents("a", 10, now)...)
	w.fill(10)
	x := w.watch(0)
	want := func(n float64, tables ...string) {
		t.Helper()
		x.increment()
		if got := testutil.ToFloat64(x.metrics.unfinished); got != n {
			t.Errorf("%v erasures are unfinished, want %v", got, n)
		}
		report := w.audit(Options{})
		if !report.Exact {
			t.Errorf("not exact: %+v", report.Findings)
		}
		found := map[string]bool{}
		for _, u := range report.Unfinished {
			if u.Workspace != "ws_a" {
				t.Errorf("%s is unfinished", u.Workspace)
			}
			for _, table := range u.Tables {
				found[table] = true
			}
		}
		for _, table := range tables {
			if !found[table] {
				t.Errorf("%s is not said to have rows: %v", table, found)
			}
		}
		if len(tables) == 0 && len(found) > 0 {
			t.Errorf("%v are said to have rows", found)
		}
	}
	w.exec("INSERT INTO usage_erasures VALUES ('ws_other', now64(3))")
	want(0)
	w.exec("INSERT INTO usage_erasures VALUES ('ws_a', now64(3))")
	want(1, "usage_ledger", "usage_minute", "usage_day", "usage_workspace_hour")
	if strings.Contains(x.log.String(), "not exact") {
		t.Errorf("it says %s", x.log.String())
	}
	x.own = []int32{1, 2, 3} // and another process looks
	want(0, "usage_ledger")
	x.own = []int32{0}
	want(1, "usage_ledger")

	w.exec("ALTER TABLE usage_ledger UPDATE outcome = 'erased', event_id = '', workspace = '', agent = '', credits = 0, messages = 0, channel = '' WHERE workspace = 'ws_a'")
	w.exec("TRUNCATE TABLE usage_id_places")
	for _, table := range rollupTables() {
		w.exec("ALTER TABLE " + table + " DELETE WHERE workspace = 'ws_a'")
	}
	want(0)
	w.exec("INSERT INTO directory_members (workspace, member) VALUES ('ws_a', 'mem_1')")
	want(1, "directory_members")
}
