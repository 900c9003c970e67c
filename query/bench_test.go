package query

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"agentmeter/internal/clickhouse"
	"agentmeter/query/calendar"
	"agentmeter/schemas"
)

var (
	benchThreads = flag.Int("bench-threads", DefaultConfig().QueryThreads, "how many threads of the engine a statement may use in the benchmarks")
	benchAsks    = flag.Int("bench-asks", 1000, "how many times a benchmark asks its questions")
)

// Half of the questions are about days of UTC, and half about those of zones
// whose hours are UTC's (Copenhagen, New York) or not (Kolkata, Kathmandu).
var benchZones = []string{"UTC", "UTC", "UTC", "UTC", "Europe/Copenhagen", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu"}

// BenchmarkYear asks questions of a year over HTTP, engine and JSON included:
// one client, one question after another, its clock running. See yearWorld for
// what the year is. It reports
//
//   - page: the page's question (thirty days, all agents, by day, compared with
//     those before), in random zones. Figures are held as in production, so most
//     answers come from memory; the percentiles are over all, the first ones too.
//   - first: the same, each by a service that holds nothing yet.
//   - moving: the same while each answer finds that more has been counted.
//   - bare: the one statement that asks ClickHouse for the figures of page, alone
//     and without its answer being made into anything.
//   - raw: page's figures asked of raw events with their payload as JSON.
//   - others: a year by week, an agent by hour, the total of a year, no change.
//   - saturation: eight clients at once ask page.
func BenchmarkYear(b *testing.B) {
	y := &year{world: yearWorld(b, *yearEvents)}
	y.run(b)
	yearMedians = y.medians
}

// yearMedians are what BenchmarkYear measured, for BenchmarkTenth to compare
// with.
var yearMedians map[string]time.Duration

// BenchmarkTenth asks the same of a year of a tenth of the events, and reports
// how many times as long the whole one took.
func BenchmarkTenth(b *testing.B) {
	y := &year{world: yearWorld(b, *yearEvents/10), whole: yearMedians}
	y.run(b)
}

func (y *year) run(b *testing.B) {
	y.medians = map[string]time.Duration{}
	for _, w := range []struct{ name, workspace string }{{"20", smallWorkspace}, {"300", largeWorkspace}} {
		b.Run(w.name, func(b *testing.B) { y.ask(b, w.workspace) })
	}
}

type year struct {
	*world
	medians map[string]time.Duration // by benchmark
	whole   map[string]time.Duration // of ten times the events, where they are known
}

// start is a service that holds nothing yet and whose clock runs from the
// year's end.
func (y *year) start(b *testing.B) *service {
	b.Helper()
	const unlimited = 1_000_000
	s := y.serve(b, frozen, with(func(c *Config) { c.RateLimit = unlimited }))
	s.config = DefaultConfig()
	s.config.QueryThreads = *benchThreads
	began := time.Now()
	s.clock = func() time.Time { return frozen.Add(time.Since(began)) }
	return s
}

func (y *year) ask(b *testing.B, workspace string) {
	page := "/v1/usage/dashboard?range=30d&compare=prev&workspace=" + workspace
	drawZone := func(rng *rand.Rand) string { return "&tz=" + benchZones[rng.IntN(len(benchZones))] }
	bare := y.bare(b, workspace)
	var page50 time.Duration
	b.Run("page", func(b *testing.B) {
		rng, s := rand.New(rand.NewPCG(1, 2)), y.start(b)
		var took []time.Duration
		for range *benchAsks {
			took = append(took, s.timed(b, page+drawZone(rng), "", http.StatusOK))
		}
		page50 = y.report(b, workspace+"/page", took)
		bare50 := percentile(y.statement(b, 50, bare), 50)
		b.ReportMetric(milliseconds(bare50), "bare-p50-ms")
		b.ReportMetric(float64(page50)/float64(bare50), "of-bare")
		one := percentile(y.statement(b, 200, clickhouse.Statement{SQL: "SELECT 1 FORMAT Native"}), 50)
		b.ReportMetric(milliseconds(one), "select1-p50-ms")
		b.ReportMetric(float64(page50)/float64(one), "of-select1")
	})
	b.Run("first", func(b *testing.B) {
		for _, zone := range slices.Compact(slices.Clone(benchZones)) {
			var took []time.Duration
			for range 15 {
				s := y.start(b)
				// What every question needs is held by any service that has been asked.
				s.timed(b, "/v1/usage/dashboard?range=today&workspace=ws_02_120", "", http.StatusOK)
				took = append(took, s.timed(b, page+"&tz="+zone, "", http.StatusOK))
				s.server.Close()
			}
			name := strings.ToLower(zone[strings.LastIndexByte(zone, '/')+1:])
			b.ReportMetric(milliseconds(percentile(took, 50)), name+"-p50-ms")
			y.compare(b, workspace+"/first/"+name, percentile(took, 50), name+"-growth")
		}
	})
	b.Run("moving", func(b *testing.B) {
		rng, s := rand.New(rand.NewPCG(3, 4)), y.start(b)
		s.config.TotalsMaxAge = 0 // as if some partition had always moved
		var took []time.Duration
		for range *benchAsks {
			took = append(took, s.timed(b, page+drawZone(rng), "", http.StatusOK))
		}
		y.report(b, workspace+"/moving", took)
	})
	for _, other := range []struct{ name, question string }{
		{"year_by_week", "from=2025-11-25&to=2026-11-24&grain=week"},
		{"agent_by_hour", "range=7d&grain=hour&agent=" + y.busiest(b, workspace)},
		{"total_of_a_year", "from=2025-11-25&to=2026-11-24&grain=month"},
	} {
		b.Run(other.name, func(b *testing.B) {
			rng, s := rand.New(rand.NewPCG(5, 6)), y.start(b)
			var took []time.Duration
			for range *benchAsks {
				took = append(took, s.timed(b, "/v1/usage/dashboard?"+other.question+"&workspace="+workspace+drawZone(rng), "", http.StatusOK))
			}
			y.report(b, workspace+"/"+other.name, took)
		})
	}
	b.Run("unchanged", func(b *testing.B) {
		s := y.start(b)
		path := "/v1/usage/dashboard?range=last_month&workspace=" + workspace
		response, _ := s.get(b, path)
		var took []time.Duration
		for range *benchAsks {
			took = append(took, s.timed(b, path, response.Header.Get("ETag"), http.StatusNotModified))
		}
		y.report(b, workspace+"/unchanged", took)
	})
	b.Run("saturation", func(b *testing.B) {
		s := y.start(b)
		s.timed(b, page, "", http.StatusOK)
		var clients sync.WaitGroup
		counts := make([]int, 8)
		const length = 3 * time.Second
		until := time.Now().Add(length)
		for n := range counts {
			clients.Go(func() {
				rng := rand.New(rand.NewPCG(7, uint64(n)))
				for time.Now().Before(until) {
					s.timed(b, page+drawZone(rng), "", http.StatusOK)
					counts[n]++
				}
			})
		}
		clients.Wait()
		sum := 0
		for _, n := range counts {
			sum += n
		}
		b.ReportMetric(float64(sum)/length.Seconds(), "answers/s")
	})
	b.Run("raw", func(b *testing.B) {
		raw := y.statement(b, 3, clickhouse.Statement{SQL: rawStatement, Params: map[string]string{
			"workspace": workspace, "zone": "UTC",
			"from": unix(frozen.AddDate(0, 0, -60)), "to": unix(frozen),
		}})
		b.ReportMetric(milliseconds(percentile(raw, 50)), "p50-ms")
		if page50 > 0 {
			b.ReportMetric(milliseconds(page50), "page-p50-ms")
			b.ReportMetric(float64(percentile(raw, 50))/float64(page50), "of-page")
		}
	})
}

// rawStatement asks raw events for the figures of the page, as the nearest peer
// does.
const rawStatement = `SELECT tumbleStart(time, toIntervalDay(1), {zone:String}) AS bar, JSON_VALUE(data, '$.agent_id') AS agent,
    sum(toFloat64OrNull(JSON_VALUE(data, '$.credits'))) AS credits, count() AS messages
FROM raw_events
WHERE namespace = {workspace:String} AND type = 'message.answered' AND time >= toDateTime({from:UInt32}) AND time < toDateTime({to:UInt32})
GROUP BY bar, agent
FORMAT Native`

// busiest is the workspace's agent with the most events.
func (y *year) busiest(b *testing.B, workspace string) (agent string) {
	b.Helper()
	err := y.client.SelectText(b.Context(), clickhouse.Statement{
		SQL:    "SELECT agent FROM usage_day WHERE workspace = {workspace:String} GROUP BY agent ORDER BY sum(events) DESC LIMIT 1",
		Params: map[string]string{"workspace": workspace},
	}, func(fields []string) error {
		agent = fields[0]
		return nil
	})
	if err != nil || agent == "" {
		b.Fatalf("the busiest agent: %q, %v", agent, err)
	}
	return agent
}

// bare is the one statement that reads all figures of the page in Copenhagen.
func (y *year) bare(b *testing.B, workspace string) clickhouse.Statement {
	b.Helper()
	zone, err := calendar.LoadZone("Europe/Copenhagen")
	if err != nil {
		b.Fatal(err)
	}
	r, err := calendar.PresetRange(calendar.Last30Days, frozen, zone, 1)
	if err != nil {
		b.Fatal(err)
	}
	grain, edges, err := cutIntoBars(r, "")
	if err != nil {
		b.Fatal(err)
	}
	st := &standing{now: frozen, zone: zone, rng: r}
	own := usageStatement(st.question(usageRequest{workspace: schemas.WorkspaceID(workspace), compare: calendar.Previous}, grain, edges), true)
	return clickhouse.Statement{
		SQL: own.sql(), Params: own.params,
		Settings: map[string]string{"max_threads": fmt.Sprint(*benchThreads)},
	}
}

// statement runs a statement n times.
func (y *year) statement(b *testing.B, n int, statement clickhouse.Statement) (took []time.Duration) {
	b.Helper()
	for range n {
		began := time.Now()
		if err := y.client.Exec(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	return took
}

// timed asks for a path and says how long the whole answer took.
func (s *service) timed(b *testing.B, path, etag string, status int) time.Duration {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, s.server.URL+path, http.NoBody)
	if err != nil {
		b.Error(err)
		return 0
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	if etag != "" {
		request.Header.Set("If-None-Match", etag)
	}
	began := time.Now()
	response, err := s.server.Client().Do(request)
	if err != nil {
		b.Error(err)
		return 0
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	if err != nil || response.StatusCode != status {
		b.Errorf("%s: %d, want %d; %v", path, response.StatusCode, status, err)
	}
	return time.Since(began)
}

// report reports percentiles and returns the median.
func (y *year) report(b *testing.B, name string, took []time.Duration) time.Duration {
	b.Helper()
	median := percentile(took, 50)
	b.ReportMetric(milliseconds(median), "p50-ms")
	b.ReportMetric(milliseconds(percentile(took, 99)), "p99-ms")
	y.compare(b, name, median, "growth")
	return median
}

// compare keeps a median, and reports how many times as long ten times the
// events take.
func (y *year) compare(b *testing.B, name string, median time.Duration, metric string) {
	b.Helper()
	y.medians[name] = median
	if whole, ok := y.whole[name]; ok {
		b.ReportMetric(float64(whole)/float64(median), metric)
	}
}

func percentile(took []time.Duration, percent int) time.Duration {
	sorted := slices.SortedFunc(slices.Values(took), cmp.Compare[time.Duration])
	return sorted[len(sorted)*percent/100]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
