package query

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"agentmeter/internal/auth"
	"agentmeter/query/tiers"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// serveExplained is serve with a token that may ask for explanations.
func (w *world) serveExplained(t *testing.T) *service {
	t.Helper()
	s := w.serve(t, frozen, DefaultConfig())
	s.token = s.mint(t, time.Hour, auth.UsageRead, auth.OpsRead)
	return s
}

// explained is a statement of an explanation, for comparing: what it reads, a
// line a tier.
func explained(t *testing.T, x *api.Explanation, name string) []string {
	t.Helper()
	if x == nil {
		t.Fatal("no explanation")
	}
	i := slices.IndexFunc(x.Statements, func(s api.ExplainedStatement) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	lines := []string{}
	for _, r := range x.Statements[i].Reads {
		line := r.Tier + " of " + r.Table
		if r.StepSeconds != nil {
			line += fmt.Sprintf(" by %d", *r.StepSeconds)
		}
		for _, s := range r.Stretches {
			line += " " + s.From.Format("01-02T15:04") + "/" + s.To.Format("01-02T15:04")
		}
		lines = append(lines, line)
	}
	return lines
}

func TestAnExplanationNamesTheTiersThatAnswered(t *testing.T) {
	w := newWorld(t)
	var events []event
	for at := time.Date(2026, 9, 1, 0, 7, 0, 0, time.UTC); at.Before(frozen); at = at.Add(time.Hour) {
		events = append(events, used("ws", "a", at, 1), used("ws", "b", at, 2))
	}
	w.insert(t, events)
	w.progress(t, frozen)
	for _, tt := range []struct {
		name, path string
		usage      []string
	}{
		{
			"whole days", "range=30d&tz=UTC",
			[]string{"day of usage_day by 86400 10-26T00:00/11-25T00:00"},
		},
		{
			"hours at the edges", "start=2026-10-25T05:00:00Z&end=2026-11-24T07:00:00Z&grain=day&tz=UTC",
			[]string{
				"day of usage_day by 86400 10-26T00:00/11-24T00:00",
				"hour of usage_hour by 3600 10-25T05:00/10-26T00:00 11-24T00:00/11-24T07:00",
			},
		},
		{
			"quarters at the edges", "start=2026-10-25T05:15:00Z&end=2026-11-24T07:30:00Z&grain=day&tz=UTC",
			[]string{
				"day of usage_day by 86400 10-26T00:00/11-24T00:00",
				"quarter of usage_quarter by 900 10-25T05:00/10-26T00:00 11-24T00:00/11-24T08:00",
			},
		},
		{
			"days of another zone", "range=7d&tz=Europe/Copenhagen",
			[]string{"hour of usage_hour by 3600 11-17T23:00/11-24T23:00"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := w.serveExplained(t) // which holds nothing yet
			path := "/v1/usage/dashboard?workspace=ws&explain=1&" + tt.path
			first := ask[api.Dashboard](t, s, path)
			if got := explained(t, first.Explain, "usage"); !slices.Equal(got, tt.usage) {
				t.Errorf("the figures are read from\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.usage, "\n"))
			}
			for statement, all := range map[string]string{
				"hours": "hour of usage_workspace_hour by 3600 01-01T00:00/01-01T00:00",
				"tests": "quarter of usage_playground by 900 01-01T00:00/01-01T00:00",
			} {
				if got := explained(t, first.Explain, statement); !slices.Equal(got, []string{all}) {
					t.Errorf("the %s are read from %q, want %q", statement, got, all)
				}
			}
			if first.Explain.Bars.Read == 0 {
				t.Errorf("bars %+v of the first question", first.Explain.Bars)
			}
			checkExplanation(t, first.Explain)

			second := ask[api.Dashboard](t, s, path)
			if got := explained(t, second.Explain, "usage"); got != nil {
				t.Errorf("what is held is read from %q", got)
			}
			if got, want := second.Explain.Bars, (api.ExplainedBars{Held: first.Explain.Bars.Held + first.Explain.Bars.Read}); got != want {
				t.Errorf("bars %+v of the second question, want %+v", got, want)
			}
			plain := ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws&"+tt.path)
			if plain.Explain != nil {
				t.Errorf("explained without being asked: %+v", plain.Explain)
			}
			second.Explain, first.Explain = nil, nil
			if a, b, c := mustJSON(t, first), mustJSON(t, second), mustJSON(t, plain); a != b || b != c {
				t.Errorf("explained, held and plain answers differ:\n%s\n%s\n%s", a, b, c)
			}
		})
	}
}

// checkExplanation holds what an explanation says of work and time against what
// it must be.
func checkExplanation(t *testing.T, x *api.Explanation) {
	t.Helper()
	last := int64(0)
	for _, s := range x.Statements {
		if s.BeganMicroseconds < last || s.DurationMicroseconds <= 0 || s.BeganMicroseconds+s.DurationMicroseconds > x.DurationMicroseconds {
			t.Errorf("%s began at %dµs and took %dµs, of %dµs; the one before began at %dµs", s.Name, s.BeganMicroseconds, s.DurationMicroseconds, x.DurationMicroseconds, last)
		}
		last = s.BeganMicroseconds
		if s.RowsRead == nil || s.BytesRead == nil {
			t.Errorf("%s does not say what was read", s.Name)
			continue
		}
		rows, read, bytes := amount(t, s.Rows), amount(t, *s.RowsRead), amount(t, *s.BytesRead)
		if s.Name == "usage" && (rows == 0 || read < rows || bytes < read) {
			t.Errorf("%s answered %d rows from %d rows of %d bytes", s.Name, rows, read, bytes)
		}
	}
}

func amount(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Error(err)
	}
	return n
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLeaderboardAndBreakdownAreExplainedToo(t *testing.T) {
	w := newWorld(t)
	w.insert(t, []event{used("ws", "a", frozen.Add(-time.Hour), 1)})
	w.progress(t, frozen)
	s := w.serveExplained(t)
	board := ask[api.UsageAgentsPage](t, s, "/v1/usage/agents?workspace=ws&range=today&grain=hour&explain=1")
	if got, want := explained(t, board.Explain, "usage"), []string{"hour of usage_hour by 3600 11-24T13:00/11-24T14:00"}; !slices.Equal(got, want) {
		t.Errorf("the leaderboard is read from %q, want %q", got, want)
	}
	checkExplanation(t, board.Explain)
	breakdown := ask[api.Breakdown](t, s, "/v1/usage/breakdown?workspace=ws&by=model&range=today&explain=1")
	if got, want := explained(t, breakdown.Explain, "breakdown"), []string{"ledger of usage_ledger 11-24T00:00/11-25T00:00"}; !slices.Equal(got, want) {
		t.Errorf("the breakdown is read from %q, want %q", got, want)
	}
	checkExplanation(t, breakdown.Explain)
}

func TestAnExplainedAnswerIsNeverUnchanged(t *testing.T) {
	w := newWorld(t)
	w.insert(t, []event{used("ws", "a", frozen.AddDate(0, 0, -3), 1)})
	w.progress(t, frozen)
	s := w.serveExplained(t)
	const path = "/v1/usage/dashboard?workspace=ws&from=2026-11-20&to=2026-11-22"
	plain, _ := s.get(t, path)
	tag := plain.Header.Get("ETag")
	if tag == "" {
		t.Fatal("a closed range has no tag")
	}
	response, body := s.get(t, path+"&explain=1", "If-None-Match", tag)
	if response.StatusCode != http.StatusOK || response.Header.Get("ETag") != "" || !strings.Contains(string(body), `"explain"`) {
		t.Errorf("%d, tag %q: %s", response.StatusCode, response.Header.Get("ETag"), body)
	}
}

func TestExplanationsAreForOperators(t *testing.T) {
	w := newWorld(t)
	w.progress(t, frozen)
	s := w.serve(t, frozen, DefaultConfig())
	reader, operator := s.token, s.mint(t, time.Hour, auth.UsageRead, auth.OpsRead)
	grant := auth.Grant{Workspace: "mine", Scopes: []auth.Scope{auth.UsageRead}, TTL: time.Hour}
	tenant, err := s.key.Mint(grant)
	if err != nil {
		t.Fatal(err)
	}
	grant.Scopes = append(grant.Scopes, auth.OpsRead)
	tenantOperator, err := s.key.Mint(grant)
	if err != nil {
		t.Fatal(err)
	}
	opsAlone := s.mint(t, time.Hour, auth.OpsRead)
	for _, route := range []string{"/v1/usage/dashboard?", "/v1/usage/agents?", "/v1/usage/breakdown?by=model&"} {
		for _, tt := range []struct {
			name, token, query string
			status             int
			says               string
		}{
			{"nobody", "none", "workspace=mine&explain=1", http.StatusUnauthorized, "token_invalid"},
			{"a reader", reader, "workspace=mine&explain=1", http.StatusForbidden, "ops:read"},
			{"one with ops:read alone", opsAlone, "workspace=mine&explain=1", http.StatusForbidden, "usage:read"},
			{"a reader, whose workspace it is not", tenant, "workspace=theirs&explain=1", http.StatusForbidden, "ops:read"},
			{"an operator, whose workspace it is not", tenantOperator, "workspace=theirs&explain=1", http.StatusNotFound, "not_found"},
			{"the same, with what is no choice", tenantOperator, "workspace=theirs&explain=2", http.StatusNotFound, "not_found"},
			{"an operator", tenantOperator, "workspace=mine&explain=1", http.StatusOK, `"explain"`},
			{"an operator of all", operator, "workspace=theirs&explain=1", http.StatusOK, `"explain"`},
			{"an operator, with what is no choice", operator, "workspace=mine&explain=yes", http.StatusBadRequest, "explain_unknown"},
			{"an operator, twice", operator, "workspace=mine&explain=0&explain=1", http.StatusBadRequest, "parameter_repeated"},
			{"a reader, with what is no choice", reader, "workspace=mine&explain=yes", http.StatusForbidden, "ops:read"},
			{"a reader, with nothing", reader, "workspace=mine&explain=", http.StatusForbidden, "ops:read"},
			{"a reader, twice", reader, "workspace=mine&explain=0&explain=1", http.StatusForbidden, "ops:read"},
			{"a reader, in disguise", reader, "workspace=mine&%65xplain=1", http.StatusForbidden, "ops:read"},
			{"a reader who does not want it", reader, "workspace=mine&explain=0", http.StatusOK, `"range"`},
		} {
			s.token = tt.token
			response, body := s.get(t, route+tt.query)
			if response.StatusCode != tt.status || !strings.Contains(string(body), tt.says) {
				t.Errorf("%s of %s: %d %s, want %d and %s", tt.name, route, response.StatusCode, body, tt.status, tt.says)
			}
			if tt.says != `"explain"` && strings.Contains(string(body), "statements") {
				t.Errorf("%s of %s is told: %s", tt.name, route, body)
			}
		}
	}
	s.token = operator
	for _, path := range []string{"/v1/usage/export.csv?workspace=mine&explain=1", "/v1/usage/live?workspace=mine&explain=1"} {
		if response, body := s.get(t, path); response.StatusCode != http.StatusBadRequest {
			t.Errorf("%s is not explained: %d %s", path, response.StatusCode, body)
		}
	}
}

func TestStretchesLeaveOutWhatAFinerTierAnswers(t *testing.T) {
	t.Parallel()
	at := func(hour int) time.Time { return time.Date(2026, 11, 24, hour, 0, 0, 0, time.UTC) }
	for _, tt := range []struct {
		name string
		read tiers.Read
		want []int // hours, in pairs
	}{
		{"all", tiers.Read{Step: schemas.StepHour, From: at(1), To: at(9)}, []int{1, 9}},
		{"but some", tiers.Read{Step: schemas.StepHour, From: at(1), To: at(9), Skip: []time.Time{at(3), at(4), at(7)}}, []int{1, 3, 5, 7, 8, 9}},
		{
			"within some",
			tiers.Read{Step: schemas.StepQuarter, From: at(1), To: at(9), InsideStep: schemas.StepHour, Inside: []time.Time{at(1), at(4), at(5), at(8)}},
			[]int{1, 2, 4, 6, 8, 9},
		},
		{
			"within some but some",
			tiers.Read{
				Step: schemas.StepHour, From: at(1), To: at(30), Skip: []time.Time{at(5), at(26)},
				InsideStep: schemas.StepDay, Inside: []time.Time{at(0), at(24)},
			},
			[]int{1, 5, 6, 26, 27, 30},
		},
		{"the ledger", tiers.Read{Step: tiers.Ledger, From: at(1), To: at(9), InsideStep: schemas.StepHour, Inside: []time.Time{at(2)}}, []int{2, 3}},
	} {
		var want []schemas.Interval
		for i := 0; i < len(tt.want); i += 2 {
			want = append(want, schemas.Interval{Start: at(tt.want[i]), End: at(tt.want[i+1])})
		}
		if got := stretches(tt.read); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", tt.name, got, want)
		}
	}
}

// Reads that are joined cover the same time, each instant once.
func TestJoinedReadsCoverTheSame(t *testing.T) {
	rng := seeded(t)
	covered := func(reads []tiers.Read) []schemas.Interval {
		var all []schemas.Interval
		for _, r := range reads {
			all = append(all, stretches(r)...)
		}
		slices.SortFunc(all, func(a, b schemas.Interval) int { return a.Start.Compare(b.Start) })
		var merged []schemas.Interval
		for _, i := range all {
			n := len(merged)
			switch {
			case n > 0 && merged[n-1].End.After(i.Start):
				t.Fatalf("%v is read twice", i)
			case n > 0 && merged[n-1].End.Equal(i.Start):
				merged[n-1].End = i.End
			default:
				merged = append(merged, i)
			}
		}
		return merged
	}
	joined := 0
	for range 500 {
		var units []unit
		at := frozen.Truncate(time.Hour).Unix()
		for range 1 + rng.IntN(40) {
			at += hour * rng.Int64N(30)
			u := unit{from: at, to: at + hour}
			switch rng.IntN(4) {
			case 0:
				u.to += hour * rng.Int64N(40)
			case 1:
				u.step = minute
			case 2:
				u.step = quarter
			default:
				u.edge = quarter * (1 + rng.Int64N(3))
			}
			units = append(units, u)
			at = u.to
		}
		for _, b := range unitsStatement(question{workspace: "ws"}, units).branches {
			var planned []tiers.Read
			for _, r := range b.Reads {
				planned = append(planned, r.planned)
			}
			covered(planned)
		}
		// By hand: what the tiers say of each run of units, and the same joined.
		bySteps := map[schemas.Step][]tiers.Read{}
		for _, u := range units {
			edges := []time.Time{time.Unix(u.from, 0)}
			for at := u.from; at < u.to; {
				at = u.after(at)
				edges = append(edges, time.Unix(at, 0))
			}
			for _, r := range tiers.Plan(edges, time.Time{}, usageByAgent.steps) {
				bySteps[r.Step] = append(bySteps[r.Step], r)
			}
		}
		for step, reads := range bySteps {
			after := joinHours(reads)
			if len(after) < len(reads) {
				joined++
			}
			if want, got := covered(reads), covered(after); !slices.EqualFunc(want, got, func(a, b schemas.Interval) bool { return a.Start.Equal(b.Start) && a.End.Equal(b.End) }) {
				t.Fatalf("joined reads of %v cover\n%v\nwant\n%v", step, got, want)
			}
		}
	}
	if joined < 100 {
		t.Errorf("%d times reads were joined: this test has shown little", joined)
	}
}
