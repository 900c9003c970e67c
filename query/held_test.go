package query

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"agentmeter/internal/slowtest"
	"agentmeter/query/calendar"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// answerOf is what a service answers, without what moves by itself.
func answerOf(t *testing.T, s *service, path string) map[string]any {
	t.Helper()
	_, body := s.get(t, path)
	var answer map[string]any
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%s: %v: %s", path, err, body)
	}
	delete(answer, "freshness")
	delete(answer, "trace_id")
	delete(answer, "instance")
	return answer
}

// A service that holds figures says the same as one that reads everything anew,
// whatever is counted between two questions and however late.
func TestHeldFiguresFollowWhatIsCounted(t *testing.T) {
	rng := seeded(t)
	w := newWorld(t)
	w.insert(t, drawEvents(rng, frozen))
	w.register(t, drawDirectory(rng, frozen)...)
	w.progress(t, frozen.Add(-time.Second))
	holding, reading := w.serve(t, frozen, DefaultConfig()), w.serve(t, frozen, DefaultConfig())
	reading.held = nil

	// What is counted between two rounds is of ws_many first, and mostly of its last 90 days.
	questions := []asking{{workspace: "ws_many", preset: "90d", compare: "prev"}}
	for range slowtest.Number(2, 25) {
		questions = append(questions, drawAsking(rng, frozen))
	}
	for round := range slowtest.Number(3, 5) {
		for _, asked := range questions {
			for _, route := range []string{"/v1/usage/dashboard?", "/v1/usage/agents?"} {
				path := route + asked.query()
				if want, got := answerOf(t, reading, path), answerOf(t, holding, path); !reflect.DeepEqual(want, got) {
					t.Fatalf("round %d, %s:\nheld %v\nread %v", round, path, got, want)
				}
			}
		}
		// More of everything: late, corrected, in the Playground; and what one
		// agent loses another one gets, so that no sum of credits moves.
		late := drawEvents(rng, frozen)
		w.insert(t, late[:20+rng.IntN(20)])
		at := frozen.Add(-time.Duration(rng.Int64N(int64(40 * day)))).Truncate(time.Microsecond)
		taken := used("ws_many", "agt_1", at, -5_000_000)
		taken.outcome, taken.messages = adjustment, 0
		given := used("ws_many", "agt_2", at, 5_000_000)
		given.outcome, given.messages = adjustment, 0
		w.insert(t, []event{taken, given})
	}
	held, read := testutil.ToFloat64(holding.metrics.heldUnits.WithLabelValues("held")), testutil.ToFloat64(holding.metrics.heldUnits.WithLabelValues("read"))
	if held < read || read == 0 {
		t.Errorf("%v bars were held and %v read: this test has shown little", held, read)
	}
}

// While a block is in one rollup and not in another, nothing is held of it.
func TestWhatDoesNotAddUpIsNotHeld(t *testing.T) {
	w := newWorld(t)
	at := frozen.Add(-49 * time.Hour)
	w.insert(t, []event{used("ws", "a", at, 3_000_000), used("ws", "b", at, 4_000_000)})
	w.progress(t, frozen)
	s := w.serve(t, frozen, DefaultConfig())
	path := "/v1/usage/dashboard?workspace=ws&range=7d"
	credits := func() string { return ask[api.Dashboard](t, s, path).Summary.Credits }
	for _, table := range []string{"usage_day", "usage_workspace_hour"} {
		if got := credits(); got != "7" {
			t.Fatalf("%s credits, want 7", got)
		}
		// A block that has come so far as this table, and no further.
		w.exec(t, "DETACH TABLE usage_day_view", nil)
		w.exec(t, "DETACH TABLE usage_workspace_hour_view", nil)
		w.exec(t, "ATTACH TABLE "+table+"_view", nil)
		w.insert(t, []event{used("ws", "a", at, 1_000_000)})
		for range 2 {
			if got := credits(); got != "7" && got != "8" {
				t.Errorf("only in %s: %s credits", table, got)
			}
		}
		for _, other := range []string{"usage_day", "usage_workspace_hour"} {
			if other != table {
				w.exec(t, "ATTACH TABLE "+other+"_view", nil)
				// Its repair.
				if other == "usage_day" {
					w.exec(t, "INSERT INTO usage_day SELECT workspace, toDateTime(toStartOfDay(occurred_at), 'UTC'), agent, stream, partition, toInt128(credits), messages, toInt64(1) FROM usage_ledger WHERE credits = 1000000", nil)
				} else {
					w.exec(t, "INSERT INTO usage_workspace_hour SELECT workspace, toStartOfHour(occurred_at), stream, partition, toInt128(credits), messages, toInt64(1) FROM usage_ledger WHERE credits = 1000000", nil)
				}
			}
		}
		if got := credits(); got != "8" {
			t.Errorf("after the repair, only in %s before: %s credits, want 8", table, got)
		}
		// Taken back, for the next table.
		back := used("ws", "a", at, -1_000_000)
		back.outcome, back.messages = adjustment, -1
		w.insert(t, []event{back})
		w.exec(t, "ALTER TABLE usage_ledger DELETE WHERE credits = 1000000 SETTINGS mutations_sync = 1", nil)
	}
}

func TestPiecesTileTheirBars(t *testing.T) {
	rng := seeded(t)
	for range slowtest.Number(200, 3000) {
		a := drawAsking(rng, frozen)
		zone, err := calendar.LoadZone(a.zone)
		if err != nil {
			zone = time.UTC
		}
		start := frozen.Add(-time.Duration(rng.Int64N(int64(800 * day)))).Truncate(time.Minute)
		end := start.Add(time.Duration(1+rng.Int64N(int64(3*day/time.Minute))) * time.Minute)
		grain := calendar.Grains[rng.IntN(len(calendar.Grains))]
		edges, ok := calendar.Bars(schemas.NewInterval(start, end), zone, grain, 5000)
		if !ok {
			continue
		}
		pieces, ok := piecesOf(edges, partRange)
		if !ok {
			t.Fatalf("bars of %s from %s to %s in %s have no pieces", grain, start, end, zone)
		}
		at, n := edges[0].Unix(), 0
		for _, p := range pieces {
			if p.from != at || p.to <= p.from || p.from < p.unit.from || p.to > p.unit.to {
				t.Fatalf("piece %+v after %d", p, at)
			}
			if p.unit.from%hour != 0 || p.unit.to%hour != 0 || (p.step != 0 || p.edge != 0) && p.unit.to-p.unit.from != hour {
				t.Fatalf("piece %+v is not of whole hours", p)
			}
			cells := map[int64]bool{p.unit.from: true}
			for at := p.unit.from; at < p.unit.to; {
				if next := p.after(at); next <= at {
					t.Fatalf("piece %+v: the cell at %d ends at %d", p, at, next)
				} else {
					at = next
				}
				cells[at] = true
			}
			if !cells[p.from] || !cells[p.to] || !cells[p.unit.to] {
				t.Fatalf("piece %+v is not made of whole cells", p)
			}
			if edges[p.bar].Unix() > p.from || edges[p.bar+1].Unix() < p.to {
				t.Fatalf("piece %+v lies outside of its bar", p)
			}
			at, n = p.to, n+1
		}
		if at != edges[len(edges)-1].Unix() || n < len(edges)-1 {
			t.Fatalf("%d pieces end at %d, and the bars at %d", n, at, edges[len(edges)-1].Unix())
		}
	}
	if _, ok := piecesOf([]time.Time{time.Unix(-3600, 0), time.Unix(0, 0)}, partRange); ok {
		t.Error("what no rollup has is said to be held")
	}
}

func TestHeldFiguresAreBoundedInNumberAndAge(t *testing.T) {
	h := newHeldFigures(100, time.Minute)
	now := time.Now()
	entry := func(n int64, cells int) *heldEntry {
		e := &heldEntry{key: heldKey{workspace: "ws", unit: unit{from: n * hour, to: (n + 1) * hour}}, read: now, total: tally{events: int64(cells)}}
		for i := range cells {
			e.cells = append(e.cells, heldCell{agent: fmt.Sprint(i), tally: tally{events: 1}})
		}
		return e
	}
	for n := range int64(10) {
		h.put(entry(n, 16))
		h.get(entry(0, 16).key, tally{events: 16}, now) // in use
	}
	if len(h.byKey) != 5 || h.cells != 100 || h.order.Len() != 5 {
		t.Errorf("%d entries of %d cells are held, want 5 of 100", len(h.byKey), h.cells)
	}
	if _, ok := h.get(entry(0, 16).key, tally{events: 16}, now); !ok {
		t.Error("what was in use all the time is gone")
	}
	if _, ok := h.get(entry(1, 16).key, tally{events: 16}, now); ok {
		t.Error("what nobody used is still there")
	}
	for _, wrong := range []tally{{events: 17}, {events: 16, messages: 1}, {events: 16, credits: schemas.SumOf(1)}} {
		if _, ok := h.get(entry(0, 16).key, wrong, now); ok {
			t.Errorf("it is used although it does not add up to %+v", wrong)
		}
	}
	if _, ok := h.get(entry(0, 16).key, tally{events: 16}, now.Add(2*time.Minute)); ok {
		t.Error("it is used beyond its age")
	}
	h.put(entry(50, 200))
	if _, ok := h.get(entry(50, 200).key, tally{events: 200}, now); ok || h.cells > 100 {
		t.Error("more is held than may be")
	}
	h.put(entry(0, 3))
	if cells, ok := h.get(entry(0, 3).key, tally{events: 3}, now); !ok || len(cells) != 3 {
		t.Error("what was read anew does not take the place of the old")
	}
}
