package query

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

func TestHourSumsAreTheSumsOfTheirHours(t *testing.T) {
	rng := seeded(t)
	for range 300 {
		used := map[int64]tally{}
		for range rng.IntN(40) {
			used[hour*rng.Int64N(60)] = tally{schemas.SumOf(schemas.Credits(rng.Int64N(1000) - 100)), rng.Int64N(5), 1 + rng.Int64N(3)}
		}
		list := []usedHour{}
		for at, own := range used {
			list = append(list, usedHour{at, own})
		}
		slices.SortFunc(list, func(a, b usedHour) int { return int(a.hour - b.hour) })
		// Cut anywhere into those that are older and the others.
		cut := hour * rng.Int64N(62)
		split := len(list)
		for i := range list {
			if list[i].hour >= cut {
				split = i
				break
			}
		}
		totals := workspaceTotals{older: hoursOf(list[:split]), from: cut, recent: hoursOf(list[split:])}
		for range 20 {
			from := hour * rng.Int64N(62)
			to := from + hour*rng.Int64N(10)
			var want tally
			for at, own := range used {
				if from <= at && at < to {
					want.add(own)
				}
			}
			if got := totals.between(from, to); got != want {
				t.Fatalf("from %d to %d, cut at %d: %+v, want %+v", from, to, cut, got, want)
			}
		}
	}
}

// As long as nothing of a workspace is known to have been counted any further,
// its totals are not read again; they are as soon as something is.
func TestTotalsAreReadWhenMoreHasBeenCounted(t *testing.T) {
	w := newWorld(t)
	at := frozen.Add(-3 * time.Hour)
	w.insert(t, []event{used("ws", "a", at, 1_000_000)})
	w.progress(t, frozen.Add(-time.Second))
	s := w.serve(t, frozen, DefaultConfig())
	s.config.TotalsMaxAge = time.Hour
	totals := func() (read, held float64) {
		return testutil.ToFloat64(s.metrics.totals.WithLabelValues("read")), testutil.ToFloat64(s.metrics.totals.WithLabelValues("held"))
	}
	credits := func(query string) string {
		t.Helper()
		return ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws&range=7d"+query).Summary.Credits
	}
	for _, query := range []string{"", "&tz=Asia/Kathmandu", "&agent=a", ""} {
		if got := credits(query); got != "1" {
			t.Errorf("%q: %s credits, want 1", query, got)
		}
	}
	if read, held := totals(); read != 1 || held != 3 {
		t.Errorf("read %v times and held %v, want once and 3", read, held)
	}
	// An event that is in the ledger, and not known to be counted yet, is not in
	// the figures: they are of one state.
	w.insert(t, []event{used("ws", "a", at, 2_000_000)})
	if got := credits(""); got != "1" {
		t.Errorf("before it is known to be counted: %s credits, want 1", got)
	}
	w.progress(t, frozen.Add(-time.Millisecond))
	if got := credits(""); got != "3" {
		t.Errorf("once it is: %s credits, want 3", got)
	}
	// What is changed by hand is seen after a while.
	w.insert(t, []event{used("ws", "a", at, 4_000_000)})
	s.config.TotalsMaxAge = time.Nanosecond
	if got := credits(""); got != "7" {
		t.Errorf("after the totals' age: %s credits, want 7", got)
	}
}

// The hours of the past are read once; of what is counted now, the last hours.
func TestOnlyTheLastHoursAreReadAgain(t *testing.T) {
	w := newWorld(t)
	var events []event
	for n := range 400 {
		events = append(events, used("ws", "a", frozen.Add(-time.Duration(n)*time.Hour), 1_000_000))
	}
	w.insert(t, events)
	w.progress(t, frozen)
	s := w.serve(t, frozen, DefaultConfig())
	rows := func() float64 { return testutil.ToFloat64(s.metrics.rows.WithLabelValues("hours")) }
	path := "/v1/usage/dashboard?workspace=ws&range=30d"
	ask[api.Dashboard](t, s, path)
	whole := rows()
	if whole < 400 {
		t.Fatalf("%v rows of hours, want 400", whole)
	}
	w.insert(t, []event{used("ws", "a", frozen, 1_000_000), used("ws", "b", frozen.Add(-time.Hour), 1_000_000)})
	if got := ask[api.Dashboard](t, s, path).Summary.Credits; got != "402" {
		t.Errorf("%s credits, want 402", got)
	}
	if read := rows() - whole; read > 5 {
		t.Errorf("%v rows of hours for what was counted now", read)
	}
	before := rows()
	w.insert(t, []event{used("ws", "a", frozen.Add(-300*time.Hour), 1_000_000)})
	if got := ask[api.Dashboard](t, s, path).Summary.Credits; got != "403" {
		t.Errorf("%s credits after a late event, want 403", got)
	}
	if read := rows() - before; read < 400 {
		t.Errorf("%v rows of hours, although one of the past has changed", read)
	}
}

// What cannot be added up to anything may have been read while a block was in one
// rollup and not in another: it is held only while nothing more is counted.
func TestWhatIsNotProvenIsHeldWhileNothingIsCounted(t *testing.T) {
	w := newWorld(t)
	s := w.serve(t, frozen, DefaultConfig())
	key := heldKey{workspace: "ws", kind: lastKind, unit: unit{to: hour}}
	reads := 0
	look := func(total int64, positions string, unproven bool, want int, what string) {
		t.Helper()
		cells, err := s.heldCells(t.Context(), key, tally{events: total}, positions, unproven, func(context.Context) ([]heldCell, error) {
			reads++
			return []heldCell{{at: int64(reads)}}, nil
		})
		if err != nil || len(cells) != 1 || cells[0].at != int64(want) {
			t.Errorf("%s: %v, %v; want what was read the %dth time", what, cells, err, want)
		}
	}
	look(1, "0:1 ", true, 1, "at first")
	look(1, "0:1 ", true, 1, "again")
	look(2, "0:1 ", true, 2, "after a change")
	look(2, "0:2 ", true, 3, "after more was counted")
	look(2, "0:3 ", false, 3, "though it would do where it is proven")
	look(2, "", true, 4, "where nothing is known")
	look(2, "", true, 5, "and again")
}

// A block that is in the rollup of workspaces and not in that of agents makes no
// answer that a tag would keep alive, and none of it is held.
func TestAHalfVisibleBlockHasNoEntityTag(t *testing.T) {
	w := newWorld(t)
	at := frozen.Add(-49 * time.Hour)
	w.insert(t, []event{used("ws", "a", at, 3_000_000)})
	w.progress(t, frozen)
	s := w.serve(t, frozen, DefaultConfig())
	for _, path := range []string{"/v1/usage/dashboard?workspace=ws&range=7d", "/v1/usage/dashboard?workspace=ws&range=today"} {
		whole, _ := s.get(t, path)
		if whole.Header.Get("ETag") == "" {
			t.Fatalf("%s has no tag", path)
		}
		w.exec(t, "DETACH TABLE usage_day_view", nil)
		w.insert(t, []event{used("ws", "b", at, 1_000_000)})
		half, body := s.get(t, path, "If-None-Match", whole.Header.Get("ETag"))
		if half.StatusCode != http.StatusOK || half.Header.Get("ETag") != "" {
			t.Errorf("%s, half visible: %d, tag %q: %s", path, half.StatusCode, half.Header.Get("ETag"), body)
		}
		w.exec(t, "ATTACH TABLE usage_day_view", nil)
		w.exec(t, "INSERT INTO usage_day SELECT workspace, toDateTime(toStartOfDay(occurred_at), 'UTC'), agent, stream, partition, toInt128(credits), messages, toInt64(1) FROM usage_ledger WHERE agent = 'b' ORDER BY offset DESC LIMIT 1", nil)
		again := ask[api.Dashboard](t, s, path)
		if got := again.Summary.Chatbots.Used; got != 2 {
			t.Errorf("%s: %d chatbots once all is visible, want 2", path, got)
		}
		if now, _ := s.get(t, path); now.Header.Get("ETag") == "" {
			t.Errorf("%s: all is visible and there is no tag", path)
		}
	}
}

// A reader that one process has told of news gets them from another one, too,
// though that has read the totals at the same positions before.
func TestNewsThatOneProcessToldAreInTheAnswersOfAnother(t *testing.T) {
	w := newWorld(t)
	at := frozen.Add(-3 * time.Hour)
	w.insert(t, []event{used("ws", "a", at, 1_000_000)})
	w.progress(t, frozen)
	const path = "/v1/usage/dashboard?workspace=ws&range=7d"
	answering, telling := w.serve(t, frozen, DefaultConfig()), w.serve(t, frozen, DefaultConfig())
	answering.config.TotalsMaxAge = time.Hour
	answering.get(t, path)
	w.insert(t, []event{used("ws", "a", at, 2_000_000)})

	totals, err := telling.totalsOf(t.Context(), usageRequest{route: "test", workspace: "ws"}, frozen, watermark{})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ heard, want string }{{"", "1"}, {liveID("ws", totals), "3"}} {
		heard, want := step.heard, step.want
		_, body := answering.get(t, path, lastEventID, heard)
		var answer api.Dashboard
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Fatal(err)
		}
		if answer.Summary.Credits != want {
			t.Errorf("with the event %q: %s credits, want %s", heard, answer.Summary.Credits, want)
		}
		if heard == "" {
			continue
		}
		// Having read them it need not do so again.
		before := testutil.ToFloat64(answering.metrics.totals.WithLabelValues("read"))
		answering.get(t, path, lastEventID, heard)
		if after := testutil.ToFloat64(answering.metrics.totals.WithLabelValues("read")); after != before {
			t.Error("what it has is read again")
		}
	}
}

// A reader that asked while a block was half visible is told to ask again.
func TestTheLiveStreamSpeaksOfABlockThatWasHalfVisible(t *testing.T) {
	w := newWorld(t)
	at := frozen.Add(-49 * time.Hour)
	w.insert(t, []event{used("ws", "a", at, 3_000_000)})
	w.progress(t, frozen.Add(-3*time.Second))
	s := w.serve(t, frozen, DefaultConfig())
	credits := func() string {
		return ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws&range=7d").Summary.Credits
	}
	stream := &liveStream{service: s.Service, route: "test", workspace: "ws"}
	look := func() bool {
		t.Helper()
		update, err := stream.look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return update.Changed
	}
	look()
	w.exec(t, "DETACH TABLE usage_day_view", nil)
	w.insert(t, []event{used("ws", "a", at, 1_000_000)})
	w.progress(t, frozen.Add(-2*time.Second)) // of some other partition, say
	if !look() || credits() != "3" {
		t.Fatalf("%s credits while the block is half visible, want 3 and news", credits())
	}
	w.exec(t, "ATTACH TABLE usage_day_view", nil)
	w.exec(t, "INSERT INTO usage_day SELECT workspace, toDateTime(toStartOfDay(occurred_at), 'UTC'), agent, stream, partition, toInt128(credits), messages, toInt64(1) FROM usage_ledger WHERE credits = 1000000", nil)
	w.insert(t, []event{used("other", "a", at, 1), used("other", "a", at, 1), used("other", "a", at, 1), used("other", "a", at, 1)})
	w.progress(t, frozen.Add(-time.Second))
	if !look() || credits() != "4" {
		t.Errorf("%s credits once it is visible, want 4 and news", credits())
	}
}
