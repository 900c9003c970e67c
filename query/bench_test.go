package query

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"agentmeter/internal/clickhouse"
	"agentmeter/query/calendar"
	"agentmeter/schemas"
)

var benchThreads = flag.Int("bench-threads", DefaultConfig().QueryThreads, "how many threads of the engine a statement may use in the benchmarks")

var benchEvents = flag.Int("bench-events", 400_000, "how many events the benchmarks' world has")

// BenchmarkDashboard asks a world of a year over HTTP, engine and JSON included.
func BenchmarkDashboard(b *testing.B) {
	w := newWorld(b)
	rng := rand.New(rand.NewPCG(1, 2))
	sizes := map[string]int{"ws_20": 20, "ws_300": 300}
	var events []event
	for range *benchEvents / 2 {
		for workspace, agents := range sizes {
			at := frozen.Add(-time.Duration(rng.Int64N(int64(365 * 24 * time.Hour)))).Truncate(time.Microsecond)
			events = append(events, used(workspace, fmt.Sprintf("agt_%d", rng.IntN(agents)), at, 1_500_000))
		}
	}
	slices.SortFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	w.insert(b, events)
	for _, table := range []string{"usage_minute", "usage_quarter", "usage_hour", "usage_day", "usage_workspace_hour"} {
		w.exec(b, "OPTIMIZE TABLE "+table+" FINAL", nil)
	}
	w.progress(b, frozen.Add(-time.Second))
	s := w.serve(b, frozen, Config{})
	s.config = DefaultConfig()
	s.config.QueryThreads = *benchThreads
	ask := func(b *testing.B, path, etag string) (tag string, status int) {
		request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, s.server.URL+path, http.NoBody)
		if err != nil {
			b.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+s.token)
		if etag != "" {
			request.Header.Set("If-None-Match", etag)
		}
		response, err := s.server.Client().Do(request)
		if err != nil {
			b.Fatal(err)
		}
		defer response.Body.Close()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			b.Fatal(err)
		}
		return response.Header.Get("ETag"), response.StatusCode
	}
	percentiles := func(b *testing.B, took []time.Duration) {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	}
	b.Run("select_1", func(b *testing.B) {
		var took []time.Duration
		for b.Loop() {
			began := time.Now()
			if err := w.client.Exec(b.Context(), clickhouse.Statement{SQL: "SELECT 1 FORMAT Native"}); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(began))
		}
		percentiles(b, took)
	})
	for workspace := range sizes {
		// The SQL behind the figures alone, at the same tables and answers.
		b.Run(workspace+"/bare_sql/30d_compared", func(b *testing.B) {
			q := benchQuestion(b, workspace)
			statement := usageStatement(q, true)
			sql := render("usage", map[string]any{"Branches": statement.branches})
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if err := w.client.Exec(b.Context(), clickhouse.Statement{SQL: sql, Params: statement.params}); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			percentiles(b, took)
		})
		for _, zone := range []string{"UTC", "Europe/Copenhagen", "Asia/Kathmandu"} {
			for _, query := range []string{"range=30d&compare=prev", "range=last_month", "range=today", "range=90d&compare=yoy"} {
				path := "/v1/usage/dashboard?workspace=" + workspace + "&tz=" + zone + "&" + query
				b.Run(workspace+"/"+zone+"/"+query, func(b *testing.B) {
					var took []time.Duration
					for b.Loop() {
						began := time.Now()
						if _, status := ask(b, path, ""); status != http.StatusOK {
							b.Fatal(status)
						}
						took = append(took, time.Since(began))
					}
					percentiles(b, took)
				})
			}
		}
		path := "/v1/usage/dashboard?range=last_month&workspace=" + workspace
		b.Run(workspace+"/unchanged", func(b *testing.B) {
			tag, _ := ask(b, path, "")
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if _, status := ask(b, path, tag); status != http.StatusNotModified {
					b.Fatal(status)
				}
				took = append(took, time.Since(began))
			}
			percentiles(b, took)
		})
	}
}

// benchQuestion is what the dashboard asks for thirty days of UTC, compared.
func benchQuestion(b *testing.B, workspace string) question {
	r, err := calendar.PresetRange(calendar.Last30Days, frozen, time.UTC, 1)
	if err != nil {
		b.Fatal(err)
	}
	grain, edges, err := barsOf(r, "")
	if err != nil {
		b.Fatal(err)
	}
	st := &standing{now: frozen, zone: time.UTC, rng: r}
	return st.question(usageRequest{workspace: schemas.WorkspaceID(workspace), compare: calendar.Previous}, grain, edges)
}
