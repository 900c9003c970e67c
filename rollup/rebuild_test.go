package rollup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

func (s *stack) exec(sql string) {
	s.t.Helper()
	if err := s.client.Conn().Exec(s.t.Context(), sql); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

func (s *stack) number(sql string) (n int64) {
	s.t.Helper()
	if err := s.client.Conn().QueryRow(s.t.Context(), "SELECT toInt64(("+sql+"))").Scan(&n); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// exactlyTheLedger compares every table with the ledger in a way of its own:
// it computes the views anew, over all streams, also unknown ones.
func (s *stack) exactlyTheLedger() {
	s.t.Helper()
	for _, rollup := range tables.Rollups {
		agent, credits, held := "''", "toInt128(0)", "toInt128(0)"
		if rollup.ByAgent {
			agent = "agent"
		}
		if rollup.Credits {
			credits, held = "sum(toInt128(credits))", "sum(credits)"
		}
		should := fmt.Sprintf("SELECT stream, partition, workspace, %s AS t, %s AS who, %s AS c, sum(messages) AS m, toInt64(count()) AS e FROM usage_ledger WHERE outcome IN (%s) GROUP BY stream, partition, workspace, t, who",
			rollup.Bucket, agent, credits, rollup.Outcomes)
		is := fmt.Sprintf("SELECT stream, partition, workspace, time AS t, %s AS who, %s AS c, sum(messages) AS m, sum(events) AS e FROM %s GROUP BY stream, partition, workspace, t, who HAVING c != 0 OR m != 0 OR e != 0",
			agent, held, rollup.Table)
		if n := s.number(fmt.Sprintf("SELECT count() FROM (SELECT * FROM (%s UNION ALL %s) GROUP BY ALL HAVING count() != 2)", should, is)); n != 0 {
			s.t.Errorf("%s differs from the ledger in %d rows", rollup.Table, n)
		}
	}
	should := "SELECT " + tables.IDKey + " AS h, stream, partition, offset FROM usage_ledger WHERE outcome IN ('counted', 'playground', 'adjustment')"
	if n := s.number(fmt.Sprintf("SELECT count() FROM (SELECT h, stream, partition, offset, countIf(x = 1) AS l, countIf(x = 2) AS i FROM (SELECT *, 1 AS x FROM (%s) UNION ALL SELECT id_key, stream, partition, offset, 2 FROM usage_id_places) GROUP BY h, stream, partition, offset HAVING l != 1 OR i != 1)", should)); n != 0 {
		s.t.Errorf("usage_id_places differs from the ledger in %d rows", n)
	}
}

func (s *stack) rebuild(options RebuildOptions) *RebuildReport {
	s.t.Helper()
	report, err := Rebuild(s.t.Context(), s.client, options)
	if err != nil {
		s.t.Fatal(err)
	}
	return report
}

const somePartition = "(SELECT stream, partition FROM usage_ledger ORDER BY partition LIMIT 1)"

type breakage struct{ name, sql string }

// breakages is what can happen to tables that somebody writes to by hand, or
// that lost parts.
var breakages = []breakage{
	{"a table emptied", "TRUNCATE TABLE usage_day"},
	{"another one emptied", "TRUNCATE TABLE usage_workspace_hour"},
	{"the look-up emptied", "TRUNCATE TABLE usage_id_places"},
	{"buckets missing", "ALTER TABLE usage_quarter DELETE WHERE cityHash64(time, agent) % 3 = 0 SETTINGS mutations_sync = 1"},
	{"Playground tests missing", "ALTER TABLE usage_playground DELETE WHERE 1 SETTINGS mutations_sync = 1"},
	{"everything twice", "INSERT INTO usage_hour SELECT * FROM usage_hour"},
	{"too much in a bucket", "INSERT INTO usage_minute SELECT workspace, time, agent, stream, partition, 7000000, 3, 2 FROM usage_minute LIMIT 20"},
	{"an agent that never was", "INSERT INTO usage_hour SELECT 'ws_0', toDateTime('2031-01-02 03:00:00', 'UTC'), 'agt_never', stream, partition, 5000000, 5, 5 FROM " + somePartition},
	{"a time that is no bucket's", "INSERT INTO usage_day SELECT 'ws_9', toDateTime('2020-01-02 03:04:05', 'UTC'), 'agt_0', stream, partition, -5000000, 0, 0 FROM " + somePartition},
	{"a stream that never was", "INSERT INTO usage_quarter SELECT workspace, time, agent, generateUUIDv4(), 17, credits, messages, events FROM usage_quarter LIMIT 5"},
	{"the last of all buckets", "INSERT INTO usage_quarter SELECT 'ws_0', toDateTime(4294967295, 'UTC'), 'agt_0', stream, partition, 1, 1, 1 FROM " + somePartition},
	{"ids missing", "DELETE FROM usage_id_places WHERE offset % 3 = 1"},
	{"ids held twice", "INSERT INTO usage_id_places SELECT * FROM usage_id_places WHERE offset % 4 = 2"},
	{"ids held three times in a part", "INSERT INTO usage_id_places SELECT id_key, stream, partition, offset FROM usage_id_places ARRAY JOIN [1, 2] AS again WHERE offset % 5 = 2"},
	{"ids that never were", "INSERT INTO usage_id_places SELECT rand64() % 281474976710656, stream, partition, 3 + step * 1000000 FROM " + somePartition + " ARRAY JOIN range(7) AS step"},
	{"ids of another offset", "INSERT INTO usage_id_places SELECT id_key, stream, partition, offset + 1 FROM usage_id_places WHERE offset % 7 = 2"},
	{"ids of a stream that never was", "INSERT INTO usage_id_places SELECT id_key, generateUUIDv4(), 3, offset FROM usage_id_places LIMIT 4"},
}

// countedStack is one with every kind of event counted, and nothing running.
func countedStack(t *testing.T, n int) (s *stack, events []schemas.Event) {
	t.Helper()
	s = newStack(t)
	stop := s.start()
	events = testEvents(n)
	for i := range events {
		if i%9 == 4 {
			events[i].Channel = schemas.ChannelPlayground
		}
	}
	s.produce(events...)
	s.produce(events[:n/10]...)
	s.waitCounted()
	stop()
	return s, events
}

func TestRebuildMakesEveryTableEqualToTheLedgerWhateverHappenedToIt(t *testing.T) {
	slowtest.Begin(t)
	s, events := countedStack(t, 2000)
	before := s.outcomes()
	for _, breakage := range breakages {
		s.exec(breakage.sql)
	}
	report := s.rebuild(RebuildOptions{})
	for _, table := range RebuildTables() {
		if report.Repaired[table].Buckets == 0 {
			t.Errorf("it says that nothing was different in %s", table)
		}
	}
	s.exactlyTheLedger()
	for table, r := range s.rebuild(RebuildOptions{}).Repaired {
		if r != (Repaired{}) {
			t.Errorf("a rebuild of what is right repaired %+v in %s", r, table)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 2 {
		for _, i := range random.Perm(len(breakages))[:6] {
			t.Log(breakages[i].name)
			s.exec(breakages[i].sql)
		}
		s.rebuild(RebuildOptions{})
		s.exactlyTheLedger()
	}
	if report := s.audit(); !report.Exact {
		t.Errorf("the audit finds %+v", report.Findings)
	}
	// What is known again is not counted again.
	s.start()
	s.produce(events...)
	s.waitCounted()
	before["duplicate"] += uint64(len(events))
	if got := s.outcomes(); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("outcomes %v, want %v", got, before)
	}
	s.exactlyTheLedger()
}

func TestRebuildBesideARunningRollupIsExact(t *testing.T) {
	slowtest.Begin(t)
	s := newStack(t)
	s.start()
	s.produce(testEvents(300)...)
	s.waitCounted()
	ctx, cancel := context.WithCancel(t.Context())
	var traffic sync.WaitGroup
	traffic.Go(func() {
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for i := 300; ctx.Err() == nil; i++ {
			e := testEvent(i)
			e.OccurredAt = testEvent(i % 400).OccurredAt
			s.produce(e, testEvent(i%300))
			<-ticker.C
		}
	})
	for _, name := range []string{"a table emptied", "everything twice"} {
		i := slices.IndexFunc(breakages, func(b breakage) bool { return b.name == name })
		s.exec(breakages[i].sql)
	}
	s.rebuild(RebuildOptions{})
	cancel()
	traffic.Wait()
	s.waitCounted()
	s.exactlyTheLedger()
	if report := s.audit(); !report.Exact {
		t.Errorf("the audit finds %+v", report.Findings)
	}
}

func TestRebuildThatIsCutOffSaysWhatRemainsAndCanBeRunAgain(t *testing.T) {
	slowtest.Begin(t)
	s, _ := countedStack(t, 1000)
	for _, breakage := range breakages {
		s.exec(breakage.sql)
	}
	all := s.rebuildParts()
	errCut := errors.New("cut off")
	ctx, cut := context.WithCancelCause(t.Context())
	stretches := 0
	report, err := Rebuild(ctx, s.client, RebuildOptions{Progress: func(RebuildProgress) {
		if stretches++; stretches == 3 {
			cut(errCut)
		}
	}})
	if !errors.Is(err, errCut) {
		t.Fatalf("%v, want %v", err, errCut)
	}
	if n := len(report.Remaining); n == 0 || n >= len(all) || report.Remaining[n-1] != all[len(all)-1] {
		t.Errorf("%d of %d parts remain: %v", n, len(all), report.Remaining)
	}
	s.rebuild(RebuildOptions{})
	s.exactlyTheLedger()
}

func (s *stack) rebuildParts() []RebuildPart {
	s.t.Helper()
	parts, err := rebuildParts(s.t.Context(), s.client, RebuildTables())
	if err != nil {
		s.t.Fatal(err)
	}
	return parts
}

func TestRebuildOfARangeLeavesTheRestAlone(t *testing.T) {
	s, _ := countedStack(t, 1000)
	day := testTime.Truncate(24*time.Hour).AddDate(0, 0, -2)
	midnight := day.Format(time.DateTime)
	inside, outside := day.Add(10*time.Hour).Format(time.DateTime), day.Add(24*time.Hour).Format(time.DateTime)
	for _, at := range []string{inside, outside} {
		s.exec("INSERT INTO usage_hour SELECT 'ws_0', toDateTime('" + at + "', 'UTC'), 'agt_never', stream, partition, 5000000, 5, 5 FROM " + somePartition)
	}
	s.exec("INSERT INTO usage_day SELECT 'ws_0', toDateTime('" + midnight + "', 'UTC'), 'agt_never', stream, partition, 5000000, 5, 5 FROM " + somePartition)
	report := s.rebuild(RebuildOptions{
		Tables: []string{"usage_hour"},
		From:   day.Add(9*time.Hour + 30*time.Minute), To: day.Add(11 * time.Hour),
	})
	if got := report.Repaired["usage_hour"]; got != (Repaired{1, schemas.SumOf(5_000_000), 5}) {
		t.Errorf("repaired %+v", got)
	}
	never := func(table, at string) int64 {
		return s.number("SELECT sum(events) FROM " + table + " WHERE agent = 'agt_never' AND time = toDateTime('" + at + "', 'UTC')")
	}
	if in, out, other := never("usage_hour", inside), never("usage_hour", outside), never("usage_day", midnight); in != 0 || out != 5 || other != 5 {
		t.Errorf("%d events are left inside, %d outside and %d in another table; want 0, 5 and 5", in, out, other)
	}
	if _, err := Rebuild(t.Context(), s.client, RebuildOptions{Tables: []string{"usage_ledger"}}); err == nil {
		t.Error("it rebuilds a table that is no rollup")
	}
}

// A ledger that was restored to an earlier state than its views.
func TestRebuildOfAPartitionTakesAwayWhatTheLedgerDoesNotKnowAnyMore(t *testing.T) {
	s, _ := countedStack(t, 1000)
	s.exec("ALTER TABLE usage_ledger DELETE WHERE partition = 2 AND offset >= 40 SETTINGS mutations_sync = 1")
	known, _, err := readStream(t.Context(), s.client, "usage.events.v1")
	if err != nil {
		t.Fatal(err)
	}
	l := known.ledger(s.client, 2, time.Minute)
	if _, err := l.rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.exactlyTheLedger()
}

func TestStretchesTileTimeAndCutNoBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		step := rapid.SampledFrom([]int64{3600, 86400}).Draw(t, "step")
		bounds := stretch{0, rapid.Int64Range(1, 4_000).Draw(t, "days")*86400 - 1}
		at := rapid.SliceOfNDistinct(rapid.Int64Range(0, bounds.through/3600), 0, 50, rapid.ID[int64]).Draw(t, "at")
		slices.Sort(at)
		hours := make([]hourRows, len(at))
		for i := range at {
			hours[i] = hourRows{at[i] * 3600, rapid.Int64Range(1, 100).Draw(t, "rows")}
		}
		enough := rapid.Int64Range(1, 500).Draw(t, "enough")
		next, rest := bounds.from, hours
		for len(rest) > 0 {
			s, taken, rows := nextStretch(rest, next, bounds.through, step, enough)
			if s.from != next || s.through < s.from || taken == 0 {
				t.Fatalf("%+v with %d hours follows %d", s, taken, next)
			}
			sum := int64(0)
			for _, h := range rest[:taken] {
				if h.hour < s.from || h.hour > s.through {
					t.Fatalf("hour %d is not in %+v", h.hour, s)
				}
				sum += h.rows
			}
			if sum != rows {
				t.Fatalf("%d rows, want %d", rows, sum)
			}
			if taken < len(rest) && (s.through+1)%step != 0 {
				t.Fatalf("%+v cuts a bucket", s)
			}
			rest, next = rest[taken:], s.through+1
		}
		if len(hours) > 0 && next != bounds.through+1 {
			t.Fatalf("they end at %d, want %d", next-1, bounds.through)
		}
	})
}

func TestPaceAimsAtItsTargetAndStopsShrinkingWhereThatDoesNotHelp(t *testing.T) {
	for _, test := range []struct {
		name       string
		fixed, row time.Duration
		least      int64
		most       int64
	}{
		{"cheap to find", 10 * time.Millisecond, 2 * time.Microsecond, 120_000, 550_000},
		{"dear to find", 3 * time.Second, 0, 120_000, maxStretch},
		{"quick", time.Millisecond, time.Nanosecond, maxStretch, maxStretch},
	} {
		p := pace{rows: firstStretch}
		for range 20 {
			p.learn(p.rows, test.fixed+time.Duration(p.rows)*test.row)
		}
		if p.rows < test.least || p.rows > test.most {
			t.Errorf("%s: %d rows, want %d to %d", test.name, p.rows, test.least, test.most)
		}
	}
}
