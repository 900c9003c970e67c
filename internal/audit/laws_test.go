package audit

import (
	"flag"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"agentmeter/internal/clickhouse/schematest"
	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

// caseOf is a random ledger and what is done to it.
type caseOf struct {
	blocks [][]event // by turns of the partitions
	turns  []int
	damage string
	victim int // which row, of those that the damage may be done to
	table  int // which rollup
	bounds bounds
}

const (
	untouched     = "untouched"
	dropRow       = "drop a row"
	doubleRow     = "double a row"
	changeView    = "change a rollup's row"
	shiftView     = "shift credits between two buckets of a rollup"
	strangerView  = "a rollup's row of an unknown stream"
	moveID        = "move an id to another partition"
	moveIDStream  = "move an id to another stream"
	doubleID      = "double an id's row"
	dropID        = "drop an id"
	swapIDs       = "swap the places of two ids"
	sameElsewhere = "count an event in another partition, too"
	otherStream   = "count an event in another stream, too"
	shorten       = "shorten the last block"
)

var damages = []string{
	untouched, dropRow, doubleRow, changeView, shiftView, strangerView, moveID, moveIDStream, doubleID, dropID, swapIDs, sameElsewhere, otherStream, shorten,
}

func cases(damage string) *rapid.Generator[caseOf] {
	return rapid.Custom(func(t *rapid.T) caseOf {
		c := caseOf{damage: damage, victim: rapid.IntRange(0, 1000).Draw(t, "victim"), table: rapid.IntRange(0, len(tables.Rollups)-1).Draw(t, "table")}
		if rapid.Bool().Draw(t, "small") {
			c.bounds = bounds{
				stretch: rapid.Int64Range(5, 20).Draw(t, "stretch"),
				keys:    rapid.Int64Range(20, 60).Draw(t, "keys"),
				shared:  rapid.Int64Range(1, 5).Draw(t, "shared"),
				slice:   rapid.Int64Range(8, 20).Draw(t, "slice"),
				held:    rapid.Int64Range(1, 100).Draw(t, "held"),
			}
		}
		number := 0
		now := time.Now().UTC().Truncate(time.Hour)
		for range rapid.IntRange(4, 9).Draw(t, "blocks") {
			var block []event
			for range rapid.IntRange(1, 30).Draw(t, "rows") {
				number++
				e := event{
					id:        fmt.Sprintf("e%d", number),
					outcome:   rapid.SampledFrom([]string{"counted", "counted", "counted", "playground", "adjustment", "duplicate", "invalid", "gap"}).Draw(t, "outcome"),
					workspace: rapid.SampledFrom([]string{"ws_a", "ws_b", `ws_'"\`}).Draw(t, "workspace"),
					agent:     rapid.SampledFrom([]string{"agt_1", "agt_2"}).Draw(t, "agent"),
					at:        now.Add(-time.Duration(rapid.IntRange(0, 60*24*60).Draw(t, "minutes")) * time.Minute),
				}
				switch e.outcome {
				case "counted":
					e.credits, e.messages = rapid.Int64Range(1, 1e9).Draw(t, "credits"), rapid.Int64Range(0, 5).Draw(t, "messages")
				case "adjustment":
					e.credits, e.messages = rapid.Int64Range(-1e9, -1).Draw(t, "credits"), rapid.Int64Range(-5, 5).Draw(t, "messages")
				case "playground":
					e.messages = 1
				}
				block = append(block, e)
			}
			c.blocks = append(c.blocks, block)
			c.turns = append(c.turns, rapid.IntRange(0, worldPartitions-1).Draw(t, "partition"))
		}
		// Other ids than these have their key in common with nobody.
		for _, pair := range schematest.SameKey()[:rapid.IntRange(0, 2).Draw(t, "pairs with the same key")] {
			for _, id := range pair {
				into := rapid.IntRange(0, len(c.blocks)-1).Draw(t, "block")
				c.blocks[into] = append(c.blocks[into], event{id: id, outcome: "counted", workspace: schematest.SameKeyWorkspace, agent: "agt_1", at: now, credits: 1, messages: 1})
			}
		}
		// One block that every damage can be done to.
		last := len(c.blocks) - 1
		c.blocks[last] = append(c.blocks[last],
			event{id: "x1", outcome: "counted", workspace: "ws_a", agent: "agt_1", at: now.Add(-3 * time.Hour), credits: 5, messages: 1},
			event{id: "x2", outcome: "counted", workspace: "ws_b", agent: "agt_2", at: now.Add(-49 * time.Hour), credits: 7, messages: 1})
		return c
	})
}

// apply does the damage and returns what the audit must find: check and table.
func (c caseOf) apply(w *world) map[string]bool {
	w.t.Helper()
	const recorded = "outcome IN ('counted', 'playground', 'adjustment')"
	row := func(condition string) (partition int, offset int64, outcome string) {
		w.t.Helper()
		n := w.one("SELECT count() FROM usage_ledger WHERE " + condition)
		var rows int
		if _, err := fmt.Sscan(n, &rows); err != nil || rows == 0 {
			w.t.Fatalf("no row where %s: %v", condition, err)
		}
		text := w.one(fmt.Sprintf("SELECT partition, offset, outcome FROM usage_ledger WHERE %s ORDER BY partition, offset LIMIT 1 OFFSET %d", condition, c.victim%rows))
		if _, err := fmt.Sscan(text, &partition, &offset, &outcome); err != nil {
			w.t.Fatal(err)
		}
		return partition, offset, outcome
	}
	at := func(partition int, offset int64) string {
		return fmt.Sprintf("partition = %d AND offset = %d", partition, offset)
	}
	found := map[string]bool{}
	expect := func(check, table string) { found[check+" "+table] = true }
	lost := func(condition string) {
		for _, rollup := range tables.Rollups {
			sql := fmt.Sprintf("SELECT count() FROM usage_ledger WHERE %s AND outcome IN (%s)", condition, rollup.Outcomes)
			if rollup.RetentionDays > 0 {
				sql += fmt.Sprintf(" AND occurred_at >= toDateTime(%d, 'UTC')", minuteCutoff(time.Now()).Unix())
			}
			if w.one(sql) != "0" {
				expect(CheckRollup, rollup.Table)
			}
		}
		if w.one("SELECT count() FROM usage_ledger WHERE "+condition+" AND "+recorded) != "0" {
			expect(CheckIDs, tables.IDs)
		}
	}
	const columns = "stream, partition, offset, block_lo, block_hi, block_day, kafka_time, event_id, outcome, workspace, agent, channel, occurred_at, credits, messages"
	switch c.damage {
	case dropRow:
		partition, offset, _ := row("1")
		lost(at(partition, offset))
		if w.one(fmt.Sprintf("SELECT count() FROM usage_ledger WHERE partition = %d AND block_hi > %d AND offset != %[2]d", partition, offset)) != "0" {
			expect(CheckOffsets, tables.Ledger)
		} else { // it was the last block, and what is left ends with the one before
			w.ends[partition] = offset
		}
		w.exec("ALTER TABLE usage_ledger DELETE WHERE " + at(partition, offset))
	case doubleRow: // with its views
		partition, offset, outcome := row("1")
		expect(CheckOffsets, tables.Ledger)
		if slices.Contains([]string{"counted", "playground", "adjustment"}, outcome) {
			expect(CheckIDs, tables.Ledger)
		}
		w.exec("INSERT INTO usage_ledger SELECT * FROM usage_ledger WHERE " + at(partition, offset))
	case changeView:
		table := tables.Rollups[c.table].Table
		credits := "credits + 1 AS credits, "
		if !tables.Rollups[c.table].Credits {
			credits = ""
		}
		n := w.one("SELECT count() FROM " + table + " WHERE time > now() - INTERVAL 20 DAY")
		if n == "0" {
			return found
		}
		w.exec(fmt.Sprintf("INSERT INTO %s SELECT * REPLACE (%s) FROM (SELECT * REPLACE (%stoInt64(1) AS events) FROM %s WHERE time > now() - INTERVAL 20 DAY ORDER BY ALL LIMIT 1)",
			table, map[bool]string{true: "toInt128(1) AS credits, toInt64(0) AS messages, toInt64(0) AS events", false: "toInt64(1) AS messages, toInt64(0) AS events"}[credits != ""], credits, table))
		expect(CheckRollup, table)
	case shiftView: // the sums stay as they were
		rollup := tables.Rollups[c.table]
		if !rollup.Credits {
			rollup = tables.Hour
		}
		agent := ""
		if rollup.ByAgent {
			agent = "agent, "
		}
		for _, shift := range []string{"1", "-1"} {
			workspace := map[string]string{"1": "ws_a", "-1": "ws_b"}[shift]
			w.exec(fmt.Sprintf("INSERT INTO %s (workspace, time, %sstream, partition, credits, messages, events) SELECT workspace, %s, %sstream, partition, %s, 0, 0 FROM usage_ledger WHERE event_id = '%s'",
				rollup.Table, agent, rollup.Bucket, agent, shift, map[string]string{"ws_a": "x1", "ws_b": "x2"}[workspace]))
		}
		expect(CheckRollup, rollup.Table)
	case strangerView:
		rollup := tables.Rollups[c.table]
		agent, agentValue := "", ""
		if rollup.ByAgent {
			agent, agentValue = "agent, ", "'agt_1', "
		}
		w.exec(fmt.Sprintf("INSERT INTO %s (workspace, time, %sstream, partition, messages, events) VALUES ('ws_a', now(), %s generateUUIDv4(), 0, 1, 1)", rollup.Table, agent, agentValue))
		expect(CheckRollup, rollup.Table)
	case moveID:
		partition, offset, _ := row(recorded)
		w.exec(fmt.Sprintf("ALTER TABLE usage_id_places UPDATE partition = %d WHERE %s", (partition+1)%worldPartitions, at(partition, offset)))
		expect(CheckIDs, tables.IDs)
	case moveIDStream:
		partition, offset, _ := row(recorded)
		w.exec("ALTER TABLE usage_id_places UPDATE stream = generateUUIDv4() WHERE " + at(partition, offset))
		expect(CheckIDs, tables.IDs)
	case doubleID:
		partition, offset, _ := row(recorded)
		w.exec("INSERT INTO usage_id_places SELECT * FROM usage_id_places WHERE " + at(partition, offset))
		expect(CheckIDs, tables.IDs)
	case dropID:
		partition, offset, _ := row(recorded)
		w.exec("ALTER TABLE usage_id_places DELETE WHERE " + at(partition, offset))
		expect(CheckIDs, tables.IDs)
	case swapIDs:
		partition := w.one("SELECT partition FROM usage_ledger WHERE event_id = 'x1'")
		w.exec("ALTER TABLE usage_id_places UPDATE offset = if(offset % 2 = 0, offset + 1, offset - 1) WHERE partition = " + partition + " AND intDiv(offset, 2) IN (SELECT intDiv(offset, 2) FROM usage_ledger WHERE event_id IN ('x1', 'x2') AND partition = " + partition + ")")
		expect(CheckIDs, tables.IDs)
	case sameElsewhere:
		partition, offset, _ := row(recorded)
		other := (partition + 1) % worldPartitions
		end := w.ends[other]
		w.exec(fmt.Sprintf("INSERT INTO usage_ledger (%s) SELECT stream, %d, %d, %d, %d, block_day, kafka_time, event_id, outcome, workspace, agent, channel, occurred_at, credits, messages FROM usage_ledger WHERE %s",
			columns, other, end, end, end+1, at(partition, offset)))
		w.ends[other]++
		expect(CheckIDs, tables.Ledger)
	case otherStream:
		partition, offset, _ := row(recorded)
		w.exec("INSERT INTO usage_streams VALUES ('00000000-0000-0000-0000-0000000000aa', 'usage.events.v1', 1, [0], now64(3) - INTERVAL 1 DAY)")
		w.exec(fmt.Sprintf("INSERT INTO usage_ledger (%s) SELECT '00000000-0000-0000-0000-0000000000aa', 0, 0, 0, 1, block_day, kafka_time, event_id, outcome, workspace, agent, channel, occurred_at, credits, messages FROM usage_ledger WHERE %s",
			columns, at(partition, offset)))
		expect(CheckIDs, tables.Ledger)
	case shorten:
		var partition int
		var lo, hi int64
		if _, err := fmt.Sscan(w.one("SELECT partition, block_lo, block_hi FROM usage_ledger WHERE event_id = 'x1'"), &partition, &lo, &hi); err != nil {
			w.t.Fatal(err)
		}
		cut := hi - 1 - int64(c.victim)%(hi-lo-1)
		condition := fmt.Sprintf("partition = %d AND offset >= %d", partition, cut)
		lost(condition)
		expect(CheckOffsets, tables.Ledger)
		w.exec("ALTER TABLE usage_ledger DELETE WHERE " + condition)
	}
	return found
}

var lawsSeed = flag.Int("seed", 0, "seed of the random ledgers; 0 takes the time")

// lawsFor is how long random cases are tried, after one of each kind, or of some.
var lawsFor = time.Duration(slowtest.Number(0, 10)) * time.Second

// Whatever the ledger, an audit finds nothing in a whole one, and of a damaged
// one exactly what was damaged: no table that is right is blamed.
func TestAuditFindsExactlyWhatIsWrong(t *testing.T) {
	w := newWorld(t, 1)
	seed := *lawsSeed
	if seed == 0 {
		seed = int(time.Now().UnixNano() % 1e9)
	}
	t.Logf("seed %d; again with -seed=%d", seed, seed)
	began := time.Now()
	for round := 0; round == 0 || time.Since(began) < lawsFor; round++ {
		some := someDamages(seed)
		if *lawsSeed != 0 {
			some = damages
		}
		for _, damage := range some {
			if round > 0 && time.Since(began) > lawsFor {
				break
			}
			n := seed + round
			c := cases(damage).Example(n)
			w.reset()
			for i, block := range c.blocks {
				w.block(c.turns[i], block...)
			}
			want := c.apply(w)
			w.fill(2)
			report := w.audit(Options{bounds: c.bounds})
			if got := where(report); !maps.Equal(got, want) {
				t.Errorf("seed %d, %s: found %v, want %v\n%+v", n, damage, got, want, report.Findings)
			}
			if report.Exact != (len(want) == 0) {
				t.Errorf("seed %d, %s: exact is %v", n, damage, report.Exact)
			}
			if len(want) == 0 && (report.Records.Unaccounted != 0 || report.Records.Waiting != 2*worldPartitions) {
				t.Errorf("seed %d: records %+v", n, report.Records)
			}
			for _, f := range report.Findings {
				if f.Detail == "" {
					t.Errorf("seed %d, %s: a finding without a word", n, damage)
				}
			}
		}
	}
}

// What is wrong in the buckets of the last block does not hide what else is.
func TestAllThatIsWrongOfARollupIsAddedUp(t *testing.T) {
	w := newWorld(t, 1)
	for _, n := range []int{3, maxListed + 50} { // few are named, many are not
		w.reset()
		now := time.Now().UTC().Truncate(24 * time.Hour)
		var old []event
		for i := range n {
			old = append(old, event{
				id: fmt.Sprintf("old%d", i), outcome: "counted", workspace: "ws_a", agent: "agt_1",
				at: now.Add(-time.Duration(i+30) * time.Hour), credits: 1_500_000, messages: 1,
			})
		}
		w.block(1, old...)
		w.block(1, someEvents("last", 1, now)...)
		w.fill(0)
		if report := w.audit(Options{}); !report.Exact {
			t.Fatalf("before any damage: %+v", report.Findings)
		}
		w.exec("TRUNCATE TABLE usage_hour")
		report := w.audit(Options{})
		var buckets, credits int64
		for _, f := range report.Findings {
			if f.Table != tables.Hour.Table {
				t.Errorf("%+v", f)
				continue
			}
			var b, c int64
			if _, err := fmt.Sscanf(f.Detail, "differs from the ledger in %d buckets, by %d millionths", &b, &c); err != nil {
				t.Fatalf("%q: %v", f.Detail, err)
			}
			buckets, credits = buckets+b, credits+c
		}
		if want := int64(n + 1); buckets != want || credits != want*1_500_000 {
			t.Errorf("%d buckets and %d millionths of a credit are found to be wrong, want %d and %d: %+v", buckets, credits, want, want*1_500_000, report.Findings)
		}
	}
}

// Two ids with the same key are two ids; one of them that was recorded again is named,
// and the other is not.
func TestIDsWithTheSameKeyAreNotDoubled(t *testing.T) {
	w := newWorld(t, 1)
	pair := schematest.SameKey()[0]
	now := time.Now().UTC()
	counted := func(id string) event {
		return event{id: id, outcome: "counted", workspace: schematest.SameKeyWorkspace, agent: "agt_1", at: now, credits: 1, messages: 1}
	}
	w.block(1, counted(pair[0]), counted("e1"))
	w.block(2, counted(pair[1]), counted("e2"))
	w.fill(0)
	if report := w.audit(Options{bounds: bounds{stretch: 10, keys: 1, shared: 1, slice: 10, held: 100}}); !report.Exact {
		t.Fatalf("two ids with the same key: %+v, %v", report.Findings, report.Unclear)
	}
	w.block(3, counted(pair[1]))
	w.fill(0)
	report := w.audit(Options{})
	if len(report.Findings) != 1 || report.Findings[0].Table != tables.Ledger {
		t.Fatalf("one of them was recorded again: %+v", report.Findings)
	}
	detail := report.Findings[0].Detail
	if !strings.Contains(detail, "1 ids were recorded more than once, 1 events too many: ws_acme/"+pair[1]+" at ") || strings.Contains(detail, pair[0]) || strings.Count(detail, w.stream.String()) != 2 {
		t.Errorf("one of them was recorded again: %s", detail)
	}
}

// Two rows that the ledger has nothing of are not one id twice, though their key is the same.
func TestRowsOfNothingAreNotDoubled(t *testing.T) {
	w := newWorld(t, 1)
	pair := schematest.SameKey()[0]
	var block []event
	for _, id := range pair {
		block = append(block, event{id: id, outcome: "counted", workspace: schematest.SameKeyWorkspace, agent: "agt_1", at: time.Now().UTC(), credits: 1, messages: 1})
	}
	w.block(1, block...)
	w.fill(0)
	w.exec("INSERT INTO usage_erasures VALUES ('ws_acme', now64(3))")
	w.exec("ALTER TABLE usage_ledger UPDATE outcome = 'erased', event_id = '', workspace = '', agent = '', credits = 0, messages = 0 WHERE 1")
	for _, f := range w.audit(Options{}).Findings {
		if strings.Contains(f.Detail, "more than once") {
			t.Errorf("%+v", f)
		}
	}
}

// ClickHouse refuses a parameter that is longer, as it is encoded.
func TestAListOfKeysFitsIntoAParameter(t *testing.T) {
	const longest = 128 << 10
	keys := slices.Repeat([]string{strconv.FormatInt(1<<schemas.IDKeyBits-1, 10)}, int(defaultBounds.shared))
	if n := len(url.QueryEscape("[" + strings.Join(keys, ",") + "]")); n > longest*9/10 {
		t.Errorf("%d bytes, and ClickHouse takes %d", n, longest)
	}
}
