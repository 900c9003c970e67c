package e2e

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/kafka"
	"agentmeter/internal/processes"
)

// The benches of the whole product, for make bench: real processes, over HTTP.
// Each measures one iteration of its own choosing, so they run with -benchtime
// 1x; internal/bench knows the goals.

var benchEvents = flag.Int64("bench-events", 10_000_000, "how many events the benchmark of the whole product has on disk")

// rollups are the tables beside the ledger and the id look-up.
const rollups = "table IN ('usage_minute', 'usage_quarter', 'usage_hour', 'usage_day', 'usage_workspace_hour', 'usage_playground')"

// system is `agentmeter run` under load.
type system struct {
	b           *testing.B
	dir         string
	instance    *instance
	write, read string // tokens
	load        *load
	began       time.Time
	counted     float64 // events a second, at most
}

// BenchmarkSystem is `agentmeter run` from its first event on. One data
// directory goes through all of it, in this order, so none of the parts can be
// chosen without those before it:
//
//   - rate: as many events as it takes, in batches of a thousand over HTTP,
//     until all are counted; the memory that takes.
//   - idle: memory and processor time when nothing comes any more.
//   - disk: what the events take in ClickHouse, against the same as JSON.
//   - start: everything is killed under full load and started again.
//   - freshness: at half the rate, from the acknowledgement to the dashboard.
//   - questions: the dashboard's, with half the rate coming in and without.
func BenchmarkSystem(b *testing.B) {
	s := &system{b: b, dir: b.TempDir(), load: newLoad(b), began: time.Now()}
	s.start()
	s.write = s.instance.token("*", "events:write")
	s.read = s.instance.token("*", "usage:read")
	for _, part := range []struct {
		name string
		run  func(*testing.B)
	}{{"rate", s.rate}, {"idle", s.idle}, {"disk", s.disk}, {"start", s.restart}, {"freshness", s.freshness}, {"questions", s.questions}} {
		b.Run(part.name, func(b *testing.B) {
			for b.Loop() {
				part.run(b)
			}
		})
	}
	s.isExact()
	s.instance.stop()
}

func (s *system) start() {
	s.instance = runOn(s.b, s.dir, "--log-level", "error")
}

// say reports what is going on.
func (s *system) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0f s  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// pause waits.
func (s *system) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.b.Context().Done():
	}
}

func (s *system) number(query string) float64 {
	s.b.Helper()
	text := sql(s.b, s.instance.endpoints.ClickHouse, query)
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		s.b.Fatalf("%s: %q", query, text)
	}
	return value
}

// ledgerRows is how many of Kafka's offsets are counted.
func (s *system) ledgerRows() int64 { return int64(s.number("SELECT count() FROM usage_ledger")) }

// logRows is how many offsets Kafka's log has.
func (s *system) logRows() int64 {
	s.b.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.instance.endpoints.Kafka))
	if err != nil {
		s.b.Fatal(err)
	}
	defer client.Close()
	ends, err := kafka.LogEnds(s.b.Context(), kadm.NewClient(client), kafka.TopicEvents)
	if err != nil {
		s.b.Fatal(err)
	}
	var sum int64
	for _, end := range ends {
		sum += end
	}
	return sum
}

// waitCounted waits until all that is in Kafka is in the ledger. Nothing may
// come meanwhile.
func (s *system) waitCounted() {
	s.b.Helper()
	want := s.logRows()
	said := time.Now()
	s.instance.waitFor("to count everything", 10*time.Minute, func() error {
		rows := s.ledgerRows()
		if rows < want {
			if time.Since(said) > 5*time.Second {
				s.say("%d of %d counted", rows, want)
				said = time.Now()
			}
			return notYetError{fmt.Sprintf("%d rows of %d", rows, want)}
		}
		return nil
	})
}

// isExact holds every rollup to what was sent.
func (s *system) isExact() {
	s.b.Helper()
	s.load.finish(s.instance.endpoints.HTTP, s.write)
	s.waitCounted()
	want := s.load.made.Load()
	for _, table := range []string{"usage_minute", "usage_quarter", "usage_hour", "usage_day", "usage_workspace_hour"} {
		// An insert is in the ledger before it is in the last of the views.
		s.instance.waitFor(fmt.Sprintf("to have %d events in %s", want, table), countPatience, func() error {
			if got := int64(s.number("SELECT sum(events) FROM " + table + " WHERE startsWith(workspace, 'ws_')")); got != want {
				return notYetError{fmt.Sprint(got)}
			}
			return nil
		})
	}
	if accepted := s.load.accepted.Load(); accepted != want {
		s.b.Errorf("%d events of %d were accepted", accepted, want)
	}
}

// rate measures how many events go in and are counted, and the memory of that.
func (s *system) rate(b *testing.B) {
	pids := processes.WithChildren(s.instance.cmd.Process.Pid)
	memory := watchMemory(b, pids...)
	began := time.Now()
	s.load.begin(s.instance.endpoints.HTTP, s.write, 0, *benchEvents)
	s.load.wait(func() { s.say("%d accepted, %d counted", s.load.accepted.Load(), s.ledgerRows()) })
	accepted := time.Since(began)
	s.waitCounted()
	took := time.Since(began)
	memory.stop()
	events := float64(s.load.accepted.Load())
	s.counted = events / took.Seconds()
	b.ReportMetric(events/accepted.Seconds(), "accepted_events/s")
	b.ReportMetric(s.counted, "events/s")
	b.ReportMetric(processes.ProcessorTime(pids...).Seconds()/events*1e6, "cpu_us/event")
	s.reportMemory(b, memory, pids)
}

// reportMemory reports the peaks of the two processes that run is.
func (s *system) reportMemory(b *testing.B, memory *memoryWatch, pids []int) {
	b.ReportMetric(mebibytes(memory.sum), "MiB")
	for i, name := range []string{"stages", "engine"} {
		b.ReportMetric(mebibytes(memory.peak[pids[i]]), name+"_MiB")
		b.ReportMetric(mebibytes(memory.files[pids[i]]), name+"_files_MiB")
	}
}

// settle waits until the engine has no merge under way and has had none for
// ten seconds, and says how long that took.
func (s *system) settle() time.Duration {
	const calm = 10 * time.Second
	began, since, before := time.Now(), time.Now(), ""
	for time.Since(since) < calm && time.Since(began) < 3*time.Minute {
		s.pause(time.Second)
		// rollup_progress is written all the time.
		now := sql(s.b, s.instance.endpoints.ClickHouse, `SELECT count(), sum(cityHash64(name)), (SELECT count() FROM system.merges WHERE startsWith(table, 'usage_'))
FROM system.parts WHERE database = 'agentmeter' AND active AND startsWith(table, 'usage_')`)
		if now != before || !strings.HasSuffix(now, "\t0") {
			since, before = time.Now(), now
		}
	}
	took := time.Since(since)
	return time.Since(began) - took
}

// waitAudited waits until the rollup has audited what it has counted, which it
// does once a minute.
func (s *system) waitAudited() {
	s.b.Helper()
	want, deadline := s.logRows(), time.Now().Add(5*time.Minute)
	for audited := int64(0); audited < want; s.pause(time.Second) { // seldom: it is asked what it costs to be idle
		if time.Now().After(deadline) {
			s.b.Fatalf("%d offsets of %d are audited", audited, want)
		}
		_, text := call(s.b, http.MethodGet, s.instance.endpoints.HTTP+"/metrics", "", nil)
		audited = 0
		for line := range strings.Lines(string(text)) {
			if figure, ok := strings.CutPrefix(line, "agentmeter_audit_position{"); ok {
				position, _ := strconv.ParseFloat(strings.TrimSpace(figure[strings.LastIndexByte(figure, ' ')+1:]), 64)
				audited += int64(position)
			}
		}
	}
}

// idle measures what nothing costs, once all that was counted is audited and
// merges are calm.
func (s *system) idle(b *testing.B) {
	began := time.Now()
	s.waitAudited()
	s.say("audited after %s", time.Since(began).Round(time.Second))
	s.settle()
	settled := time.Since(began)
	s.say("calm after %s", settled.Round(time.Second))
	pids := processes.WithChildren(s.instance.cmd.Process.Pid)
	used, began := processes.ProcessorTime(pids...).Seconds(), time.Now()
	memory := watchMemory(b, pids...)
	s.pause(30 * time.Second)
	memory.stop()
	b.ReportMetric((processes.ProcessorTime(pids...).Seconds()-used)/time.Since(began).Seconds()*100, "%_of_a_core")
	b.ReportMetric(settled.Seconds(), "s/settle")
	s.reportMemory(b, memory, pids)
}

// tableBytes is what the tables' active parts take on disk.
func (s *system) tableBytes(where string) float64 {
	return s.number("SELECT sum(bytes_on_disk) FROM system.parts WHERE database = 'agentmeter' AND active AND " + where)
}

// disk measures what an event takes: of live traffic, and of traffic that is as
// dense as a real one, a thousand agents with a hundred million events a year.
func (s *system) disk(b *testing.B) {
	const day, aDay = 24 * time.Hour, 100e6 / 365
	ndjson := s.load.bytesAsJSON()
	events := float64(s.ledgerRows())
	ledger, ids, live := s.tableBytes("table = 'usage_ledger'"), s.tableBytes("table = 'usage_id_places'"), s.tableBytes(rollups)
	b.ReportMetric(ndjson, "json_bytes/event")
	b.ReportMetric(ledger/events, "ledger_bytes/event")
	b.ReportMetric(ids/events, "ids_bytes/event")
	b.ReportMetric(live/events, "live_rollup_bytes/event")
	sum := (ledger + ids + live) / events
	b.ReportMetric(sum, "live_bytes/event")
	b.ReportMetric(sum/ndjson, "live_of_json")
	b.ReportMetric(bytesUnder(b, filepath.Join(s.dir, "kafka"))/events, "kafka_bytes/event")

	more := *benchEvents / 10
	first, from := time.Now().Add(-time.Duration(float64(more)/aDay*float64(day))), s.load.made.Load()
	s.load.at = func(n int64) time.Time { return first.Add(time.Duration(float64(n-from) / aDay * float64(day))) }
	s.load.begin(s.instance.endpoints.HTTP, s.write, 0, from+more)
	s.load.wait(func() {})
	s.load.at = func(int64) time.Time { return time.Now() }
	s.waitCounted()
	atOnce := s.tableBytes(rollups) - live
	s.say("%s later", s.settle().Round(time.Second))
	dense := (s.tableBytes(rollups) - live) / float64(s.load.made.Load()-from)
	b.ReportMetric(atOnce/float64(s.load.made.Load()-from), "unmerged_rollup_bytes/event")
	b.ReportMetric(dense, "rollup_bytes/event")
	sum = (ledger+ids)/events + dense
	b.ReportMetric(sum, "bytes/event")
	b.ReportMetric(sum/ndjson, "of_json")
}

func bytesUnder(b *testing.B, dir string) float64 {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		b.Error(err)
	}
	return float64(sum)
}

// restart kills everything under full load and starts it again.
func (s *system) restart(b *testing.B) {
	const rounds = 3
	var ready, counted, backlog []float64
	for range rounds {
		from := s.load.accepted.Load()
		s.load.begin(s.instance.endpoints.HTTP, s.write, 0, 0)
		s.instance.waitFor("to take traffic", time.Minute, func() error {
			if more := s.load.accepted.Load() - from; more < min(*benchEvents, 400_000) {
				return notYetError{fmt.Sprint(more)}
			}
			return nil
		})
		left := s.logRows() - s.ledgerRows()
		s.load.killed.Store(true)
		s.instance.kill()
		s.load.halt()
		began := time.Now()
		s.start()
		ready = append(ready, time.Since(began).Seconds())
		backlog = append(backlog, float64(left))
		s.waitCounted()
		counted = append(counted, time.Since(began).Seconds())
		s.say("killed with %d events not counted: ready after %.2f s, counted after %.2f s", left, ready[len(ready)-1], counted[len(counted)-1])
		s.load.finish(s.instance.endpoints.HTTP, s.write)
		s.waitCounted()
	}
	b.ReportMetric(percentile(ready, 50), "s/ready")
	b.ReportMetric(slices.Max(ready), "s/ready_at_most")
	b.ReportMetric(percentile(counted, 50), "s/counted")
	b.ReportMetric(slices.Max(counted), "s/counted_at_most")
	b.ReportMetric(percentile(backlog, 50), "events/backlog")
}

func percentile(values []float64, percent int) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)*percent/100]
}

// blocksByTable is how many parts were ever inserted into each table: each got
// the next number of its partition.
func (s *system) blocksByTable() map[string]float64 {
	blocks := make(map[string]float64)
	for line := range strings.Lines(sql(s.b, s.instance.endpoints.ClickHouse, `SELECT table, sum(last) FROM
(SELECT table, partition_id, max(max_block_number) AS last FROM system.parts WHERE database = 'agentmeter' GROUP BY table, partition_id) GROUP BY table`)) {
		table, number, _ := strings.Cut(strings.TrimSpace(line), "\t")
		blocks[table], _ = strconv.ParseFloat(number, 64)
	}
	return blocks
}

// freshness measures, at half the rate, from the answer to a client until its
// event is in the dashboard's figures, and how many parts that costs.
func (s *system) freshness(b *testing.B) {
	s.load.begin(s.instance.endpoints.HTTP, s.write, s.counted/2, 0)
	s.pause(3 * time.Second)
	began, blocks, accepted := time.Now(), s.blocksByTable(), s.load.accepted.Load()
	seconds, err := s.probe()
	if err != nil {
		b.Fatal(err)
	}
	length := time.Since(began).Seconds()
	rate := float64(s.load.accepted.Load()-accepted) / length
	most := 0.0
	for table, last := range s.blocksByTable() {
		parts := (last - blocks[table]) / length
		s.say("%.1f new parts a second of %s", parts, table)
		most = max(most, parts)
	}
	s.load.halt()
	b.ReportMetric(rate, "events/s")
	b.ReportMetric(s.counted/2, "wanted_events/s")
	b.ReportMetric(percentile(seconds, 50), "p50-s")
	b.ReportMetric(percentile(seconds, 99), "p99-s")
	b.ReportMetric(slices.Max(seconds), "most-s")
	b.ReportMetric(most, "parts/s")
}

// probe sends events of a workspace of its own, each of another agent, and
// says how long after each answer the dashboard has it. One reader looks for
// all of them, so that looking costs little.
func (s *system) probe() ([]float64, error) {
	const probes, agents, workspace = 250, 100, "probe"
	type event struct {
		agent    string
		messages int // that the agent has then
		answered time.Time
	}
	ctx, stop := context.WithCancelCause(s.b.Context())
	defer stop(nil)
	sent := make(chan event, probes)
	go func() {
		defer close(sent)
		random := rand.New(rand.NewPCG(25, 26))
		for n := range probes {
			// Out of step with everything that happens twice a second.
			s.pause(time.Duration(random.Int64N(int64(400 * time.Millisecond))))
			agent := fmt.Sprintf("agt_%d", n%agents)
			body := fmt.Sprintf(`{"id":"probe-%d","workspace_id":"%s","agent_id":"%s","occurred_at":"%s","channel":"embed","credits":"1"}`, n, workspace, agent, nowText())
			if err := expectStatus(s.b, http.MethodPost, s.instance.endpoints.HTTP+"/v1/events", s.write, strings.NewReader(body), http.StatusAccepted); err != nil {
				stop(err)
				return
			}
			sent <- event{agent, n/agents + 1, time.Now()}
		}
	}()
	var seconds []float64
	var open []event
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for len(seconds) < probes {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-ticker.C:
		}
		for more := true; more; {
			select {
			case one, some := <-sent:
				if more = some; some {
					open = append(open, one)
				}
			default:
				more = false
			}
		}
		if len(open) == 0 {
			continue
		}
		shown := make(map[string]string)
		for _, agent := range readDashboard(s.b, s.instance.endpoints.HTTP, s.read, workspace, "range=7d&grain=day").Agents {
			shown[agent.ID] = agent.Messages
		}
		now := time.Now()
		open = slices.DeleteFunc(open, func(one event) bool {
			messages, _ := strconv.Atoi(shown[one.agent]) // not shown yet: none
			if messages < one.messages {
				return false
			}
			seconds = append(seconds, now.Sub(one.answered).Seconds())
			return true
		})
		if len(open) > 0 && now.Sub(open[0].answered) > countPatience {
			return nil, fmt.Errorf("an event of %s is not shown after %s", open[0].agent, countPatience)
		}
	}
	return seconds, nil
}

// questions measures the dashboard's answers with half the rate coming in and
// without.
func (s *system) questions(b *testing.B) {
	s.waitCounted()
	s.settle()
	s.say("asking")
	page, others := s.ask(b)
	s.load.begin(s.instance.endpoints.HTTP, s.write, s.counted/2, 0)
	s.pause(3 * time.Second)
	s.say("asking under load")
	loadedPage, loadedOthers := s.ask(b)
	s.load.halt()
	for _, of := range []struct {
		name            string
		without, during []float64
	}{{"page", page, loadedPage}, {"mix", append(page, others...), append(loadedPage, loadedOthers...)}} {
		without, during := percentile(of.without, 99), percentile(of.during, 99)
		b.ReportMetric(percentile(of.without, 50)*1000, of.name+"-calm-p50-ms")
		b.ReportMetric(percentile(of.during, 50)*1000, of.name+"-p50-ms")
		b.ReportMetric(without*1000, of.name+"-calm-p99-ms")
		b.ReportMetric(during*1000, of.name+"-p99-ms")
		b.ReportMetric(during/without, of.name+"-of-calm")
	}
}

// ask asks fifty questions a second, of any of the workspaces: half of them the
// page's (thirty days by day, compared), the others what its filters lead to.
func (s *system) ask(b *testing.B) (page, others []float64) {
	const asks = 500
	random := rand.New(rand.NewPCG(27, 28))
	zones := []string{"UTC", "UTC", "UTC", "UTC", "Europe/Copenhagen", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu"}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for i := range asks {
		<-ticker.C
		workspace := random.IntN(loadWorkspaces)
		parameters := "range=30d&compare=prev"
		if i%2 == 1 {
			parameters = []string{
				"range=90d&grain=week", fmt.Sprintf("range=7d&grain=hour&agent=agt_%d_%d", workspace, random.IntN(loadAgents)), "range=today", "range=90d&grain=month",
			}[random.IntN(4)]
		}
		question := fmt.Sprintf("%s/v1/usage/dashboard?workspace=ws_%d&%s&tz=%s", s.instance.endpoints.HTTP, workspace, parameters, url.QueryEscape(zones[random.IntN(len(zones))]))
		began := time.Now()
		if err := expectStatus(b, http.MethodGet, question, s.read, nil, http.StatusOK); err != nil {
			b.Error(err)
			return page, others
		}
		took := time.Since(began).Seconds()
		if i%2 == 0 {
			page = append(page, took)
		} else {
			others = append(others, took)
		}
	}
	return page, others
}

// BenchmarkRoles is the same traffic into processes of their own, for the
// memory that each of them takes.
func BenchmarkRoles(b *testing.B) {
	const filter = 3.6 * 1e6 // bytes of the rollup's filter for a million ids
	for b.Loop() {
		events, dir, began := *benchEvents/5, b.TempDir(), time.Now()
		roles := map[string]*process{}
		stage := func(name string, args ...string) (base string) {
			roles[name], base = startStage(b, append([]string{name, "--log-level", "error", "--data-dir", dir}, args...)...)
			return base
		}
		printed := func(name, listen string) (address string) {
			roles[name], address = startPrinted(b, name, "--log-level", "error", "--data-dir", dir, listen, "127.0.0.1:0")
			return address
		}
		broker, engine := printed("broker", "--kafka-listen"), printed("engine", "--clickhouse-listen")
		ingest := stage("ingest", "--kafka", broker)
		stage("query", "--clickhouse", engine)
		stage("rollup", "--kafka", broker, "--clickhouse", engine)
		write := strings.TrimSpace(mustAgentmeter(b, "token", "--data-dir", dir, "--workspace", "*", "--scope", "events:write"))

		watches := map[string]*memoryWatch{}
		for name, p := range roles {
			pids := processes.WithChildren(p.cmd.Process.Pid)
			watches[name] = watchMemory(b, pids[len(pids)-1]) // the engine is its supervisor's child
		}
		l := newLoad(b)
		l.begin(ingest, write, 0, events)
		l.wait(func() {
			fmt.Fprintf(os.Stderr, "%5.0f s  %d accepted by roles\n", time.Since(began).Seconds(), l.accepted.Load())
		})
		roles["rollup"].waitFor("to count everything", 10*time.Minute, func() error {
			if rows := sql(b, engine, "SELECT count() FROM usage_ledger"); rows != fmt.Sprint(events) {
				return notYetError{rows + " rows"}
			}
			return nil
		})
		for name, watch := range watches {
			watch.stop()
			b.ReportMetric(mebibytes(watch.sum), name+"_MiB")
		}
		b.ReportMetric(mebibytes(watches["rollup"].sum-int64(float64(events)/1e6*filter)), "rollup_beside_filter_MiB")
		for _, name := range []string{"ingest", "query", "rollup", "engine", "broker"} {
			roles[name].stop()
		}
	}
}
