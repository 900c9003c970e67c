package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"agentmeter/client"
	"agentmeter/schemas/api"
)

func TestUnchangedFiguresAreNotSentAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			if r.Header.Get("If-None-Match") == `"v1"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			reply(w, 200, `{"summary":{"credits":"170141183460469231731687303715884105.727","messages":"7701"},"member_of_tomorrow":true}`)
		})
		c := newClient(t, w)
		first, err := c.Dashboard(t.Context(), api.GetDashboardParams{Workspace: "ws"}, client.IfNoneMatch(""))
		if err != nil || first.NotModified || first.Dashboard == nil || first.ETag != `"v1"` {
			t.Fatalf("got %+v, %v", first, err)
		}
		if got := first.Dashboard.Summary.Credits; got != "170141183460469231731687303715884105.727" {
			t.Errorf("credits %s have changed on the way", got)
		}
		params := api.GetDashboardParams{Workspace: "ws"}
		second, err := c.Dashboard(t.Context(), params, client.IfNoneMatch(first.ETag))
		if err != nil || !second.NotModified || second.Dashboard != nil || second.ETag != `"v1"` {
			t.Errorf("got %+v, %v, want not modified", second, err)
		}
		if params.IfNoneMatch != nil {
			t.Error("the caller's parameters have changed")
		}
		third, err := c.Dashboard(t.Context(), params, client.IfNoneMatch(`"v0"`))
		if err != nil || third.NotModified || third.Dashboard == nil {
			t.Errorf("got %+v, %v, want new figures", third, err)
		}
	})
}

func TestQuestionsArriveAsTheyWereAsked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var asked []string
		w := newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.URL.String())
			reply(w, 200, `{}`)
		})
		c := newClient(t, w)
		ctx := t.Context()
		instant := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
		_, err1 := c.Dashboard(ctx, api.GetDashboardParams{Workspace: "ws/1 +", From: client.Day(2026, time.November, 1), To: client.Day(2026, time.November, 24), Tz: new("Europe/Copenhagen")})
		_, err2 := c.Breakdown(ctx, api.GetBreakdownParams{Workspace: "ws", By: api.ByModel, Start: &instant, End: new(instant.Add(time.Hour))})
		_, err3 := c.Reconcile(ctx, api.GetReconcileParams{Workspace: "ws", Range: new(api.Preset7Days)})
		_, err4 := c.AgentChoices(ctx, api.ListAgentsParams{Workspace: "ws", Query: new("Zoë & co"), Limit: new(3)})
		_, err5 := c.Agents(ctx, api.GetUsageAgentsParams{Workspace: "ws", Sort: new(api.SortName), Order: new(api.Descending)})
		if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"/v1/usage/dashboard?workspace=ws%2F1%20%2B&from=2026-11-01&to=2026-11-24&tz=Europe%2FCopenhagen",
			"/v1/usage/breakdown?workspace=ws&by=model&start=2026-11-24T09%3A00%3A00Z&end=2026-11-24T10%3A00%3A00Z",
			"/v1/usage/reconcile?workspace=ws&range=7d",
			"/v1/agents?workspace=ws&query=Zo%C3%AB%20%26%20co&limit=3",
			"/v1/usage/agents?workspace=ws&sort=name&order=desc",
		}
		for i := range want {
			if normal(asked[i]) != normal(want[i]) {
				t.Errorf("asked %s, want %s", asked[i], want[i])
			}
		}
	})
}

func normal(query string) string { return strings.ReplaceAll(query, "+", "%20") }

// leaderboard serves agents a-0 to a-(n-1), page by page.
func leaderboard(n int, fault func(call int, w http.ResponseWriter) bool) func(int, http.ResponseWriter, *http.Request) {
	return func(call int, w http.ResponseWriter, r *http.Request) {
		if fault != nil && fault(call, w) {
			return
		}
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		to := min(n, from+limit)
		var rows []string
		for i := from; i < to; i++ {
			rows = append(rows, fmt.Sprintf(`{"id":"a-%d","credits":"%d.5"}`, i, n-i))
		}
		next := "null"
		if to < n {
			next = fmt.Sprintf(`"%d"`, to)
		}
		reply(w, 200, fmt.Sprintf(`{"agents":[%s],"next_cursor":%s}`, strings.Join(rows, ","), next))
	}
}

func TestAllPagesComeInOneLoop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, leaderboard(250, func(call int, w http.ResponseWriter) bool {
			if call == 1 { // the second page comes at the second try
				problem(w, 503, "busy")
			}
			return call == 1
		}))
		c := newClient(t, w)
		agents := c.AllAgents(t.Context(), api.GetUsageAgentsParams{Workspace: "ws"})
		for round, calls := range []int64{4, 7} { // a second loop begins anew
			var ids []string
			for agent, err := range agents {
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, agent.ID+" "+agent.Credits)
			}
			if len(ids) != 250 || ids[0] != "a-0 250.5" || ids[249] != "a-249 1.5" || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 250 {
				t.Errorf("round %d: %d agents, from %q to %q", round, len(ids), ids[0], ids[len(ids)-1])
			}
			if w.calls.Load() != calls {
				t.Errorf("round %d: %d requests so far, want %d", round, w.calls.Load(), calls)
			}
		}
		found := 0
		for _, err := range c.SearchAgents(t.Context(), api.ListAgentsParams{Workspace: "ws", Limit: new(60), Cursor: new("100")}) {
			if err != nil {
				t.Fatal(err)
			}
			found++
		}
		if found != 150 || w.calls.Load() != 10 {
			t.Errorf("%d agents in %d requests, want 150 in 3", found, w.calls.Load()-7)
		}
	})
}

func TestLoopThatIsLeftReadsNoFurther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, leaderboard(250, nil))
		seen := 0
		for _, err := range newClient(t, w).AllAgents(t.Context(), api.GetUsageAgentsParams{Workspace: "ws"}) {
			if err != nil {
				t.Fatal(err)
			}
			if seen++; seen == 101 {
				break
			}
		}
		if w.calls.Load() != 2 {
			t.Errorf("%d requests, want 2", w.calls.Load())
		}
	})
}

func TestErrorEndsTheLoopAndComesLast(t *testing.T) {
	t.Parallel()
	stop := errors.New("asked to stop")
	for name, test := range map[string]struct {
		fault func(cancel func()) func(call int, w http.ResponseWriter) bool
		want  func(error) bool
	}{
		"the server refuses": {
			func(func()) func(int, http.ResponseWriter) bool {
				return func(call int, w http.ResponseWriter) bool {
					if call == 1 {
						problem(w, 400, "cursor_invalid")
					}
					return call == 1
				}
			},
			func(err error) bool {
				var p *client.Problem
				return errors.As(err, &p) && p.Code == "cursor_invalid"
			},
		},
		"the caller stops": {
			func(cancel func()) func(int, http.ResponseWriter) bool {
				return func(call int, w http.ResponseWriter) bool {
					if call == 1 {
						cancel()
						problem(w, 503, "busy")
					}
					return call == 1
				}
			},
			func(err error) bool { return errors.Is(err, stop) },
		},
		"the cursor does not move": {
			func(func()) func(int, http.ResponseWriter) bool {
				return func(call int, w http.ResponseWriter) bool {
					if call == 1 {
						reply(w, 200, `{"agents":[{"id":"a-100"}],"next_cursor":"100"}`)
					}
					return call == 1
				}
			},
			func(err error) bool { return errors.Is(err, client.ErrAnswer) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				w := newWire(t, leaderboard(250, test.fault(func() { cancel(stop) })))
				rows := 0
				var failed error
				for agent, err := range newClient(t, w).AllAgents(ctx, api.GetUsageAgentsParams{Workspace: "ws"}) {
					if failed != nil {
						t.Fatalf("%v, %v comes after the error", agent, err)
					}
					if failed = err; err == nil {
						rows++
					}
				}
				if rows != 100 || failed == nil || !test.want(failed) {
					t.Errorf("%d rows, then %v", rows, failed)
				}
				if w.calls.Load() != 2 {
					t.Errorf("%d requests, want 2", w.calls.Load())
				}
			})
		})
	}
}
