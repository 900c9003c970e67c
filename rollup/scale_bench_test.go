package rollup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/clickhouse/schematest"
	"agentmeter/internal/embedded/enginetest"
	"agentmeter/internal/kafka"
	"agentmeter/internal/processes"
	tables "agentmeter/schemas/clickhouse"
)

// rollupVariable makes this very test binary a rollup of its own process: its
// value is a rollupOrder.
const rollupVariable = "AGENTMETER_BENCH_ROLLUP"

type rollupOrder struct {
	Brokers  []string `json:"brokers"`
	URL      string   `json:"url"`
	Database string   `json:"database"`
	Group    string   `json:"group"`
}

func init() {
	if order := os.Getenv(rollupVariable); order != "" {
		if err := runOrdered(context.Background(), order, os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// runOrdered runs a rollup until its standard input ends.
func runOrdered(ctx context.Context, order string, stdin io.Reader) error {
	var o rollupOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return err
	}
	client, err := clickhouse.Open(clickhouse.Config{URL: o.URL, Database: o.Database})
	if err != nil {
		return err
	}
	config := DefaultConfig()
	config.Group = o.Group
	r, err := New(config, kafka.Config{Brokers: o.Brokers, ClientID: "bench"}, client, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	return errors.Join(r.Run(ctx), client.Close())
}

// BenchmarkScaleOut counts the same backlog with one, two and four rollup
// processes of one processor each, and says what the work costs where: in the
// rollups, in ClickHouse, and in the broker, which is this process.
func BenchmarkScaleOut(b *testing.B) {
	const events = 1_500_000
	dir := b.TempDir()
	s := newStack(b, kfake.DataDir(dir))
	s.log = slog.New(slog.DiscardHandler)
	s.produceTraffic(16, events)
	topic := float64(bytesIn(b, dir)) / events
	for _, members := range []int{1, 2, 4} {
		b.Run(strconv.Itoa(members), func(b *testing.B) {
			var m scaled
			for b.Loop() {
				m = s.countByProcesses(b, members, events)
			}
			b.ReportMetric(m.rate, "events/s")
			b.ReportMetric(m.rollups*1e6, "rollup_cpu_µs/event")
			b.ReportMetric(m.engine*1e6, "engine_cpu_µs/event")
			b.ReportMetric(m.broker*1e6, "broker_cpu_µs/event")
			b.ReportMetric(m.most, "busiest_of_even_share")
			b.ReportMetric(m.rss, "largest_rollup_MiB")
			b.ReportMetric(m.disk, "clickhouse_bytes/event")
			b.ReportMetric(topic, "kafka_bytes/event")
		})
	}
}

// scaled is what counting took, the processor time of each event by process.
type scaled struct {
	rate, rollups, engine, broker float64
	most                          float64 // what the busiest rollup used, of an even share
	rss                           float64 // of the largest rollup, at its peak
	disk                          float64 // bytes of all tables, for each event
}

func (s *stack) countByProcesses(b *testing.B, members int, events int64) scaled {
	b.Helper()
	config, client := schematest.Tables(b)
	order, err := json.Marshal(rollupOrder{s.kafka.Brokers, config.URL, config.Database, uuid.NewString()})
	if err != nil {
		b.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	var pids []int
	var stops []func() error
	for range members {
		cmd := exec.CommandContext(b.Context(), exe)
		cmd.Env = append(os.Environ(), rollupVariable+"="+string(order), "GOMAXPROCS=1")
		cmd.Stderr = os.Stderr
		stdin, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			b.Fatal(err)
		}
		pids = append(pids, cmd.Process.Pid)
		stops = append(stops, func() error { return errors.Join(stdin.Close(), cmd.Wait()) })
	}
	used := func() (all, broker float64, rollups []float64) {
		for _, pid := range pids {
			rollups = append(rollups, processes.ProcessorTime(pid).Seconds())
		}
		return cpuSeconds(), processes.ProcessorTime(os.Getpid()).Seconds(), rollups
	}
	counted := func() (n int64) {
		if err := client.Conn().QueryRow(b.Context(), "SELECT toInt64(count()) FROM usage_ledger").Scan(&n); err != nil {
			b.Fatal(err)
		}
		return n
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var began time.Time
	var first int64
	var all, broker float64
	var rollups []float64
	for range tick.C {
		n := counted()
		if began.IsZero() && n > 0 {
			first, began = n, time.Now()
			all, broker, rollups = used()
		}
		if n >= events {
			break
		}
	}
	n := float64(events - first)
	m := scaled{rate: n / time.Since(began).Seconds()}
	allAfter, brokerAfter, rollupsAfter := used()
	busiest, sum := 0.0, 0.0
	for i := range rollups {
		spent := rollupsAfter[i] - rollups[i]
		busiest, sum = max(busiest, spent), sum+spent
		m.rss = max(m.rss, float64(processes.MemoryOf(pids[i]).Peak)/(1<<20))
	}
	m.rollups, m.broker = sum/n, (brokerAfter-broker)/n
	m.engine = (allAfter-all)/n - m.rollups - m.broker
	m.most = busiest * float64(members) / sum
	for _, stop := range stops {
		if err := stop(); err != nil {
			b.Error(err)
		}
	}
	requireCounted(b, client, events, events)
	var bytes int64
	if err := client.Conn().QueryRow(b.Context(), "SELECT toInt64(sum(bytes_on_disk)) FROM system.parts WHERE active AND database = currentDatabase()").Scan(&bytes); err != nil {
		b.Fatal(err)
	}
	m.disk = float64(bytes) / float64(events)
	return m
}

// bytesIn is what the files of a directory have.
func bytesIn(b *testing.B, dir string) (n int64) {
	b.Helper()
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkGrowth counts the same new events into tables that hold a million
// events and into tables that hold the hundred million of the query service's
// year, in turns. The year is that of package query's benches, cloned; the id
// look-up is empty in both: BenchmarkOldIDs is about that.
func BenchmarkGrowth(b *testing.B) {
	const rounds, events = 3, 500_000
	year := cloneYear(b)
	small := newTables(b)
	stream := uuid.New()
	for p := range int32(4) {
		fillLedger(b, small, stream, p, 250_000)
	}
	mustExec(b, small, "TRUNCATE TABLE usage_id_places")
	s := newStack(b, kfake.DataDir(b.TempDir()))
	s.log = slog.New(slog.DiscardHandler)
	var cpu, ratios, yearCPU []float64
	for b.Loop() {
		for round := range uint64(rounds) {
			s.produceTraffic(round, events)
			into := func(client *clickhouse.Client) measured {
				counted, stop := s.runProtocol(client)
				defer stop()
				return measureCount(counted, events)
			}
			var little, much measured
			if round%2 == 0 {
				little, much = into(small), into(year)
			} else {
				much, little = into(year), into(small)
			}
			cpu, yearCPU, ratios = append(cpu, little.cpu*1e6), append(yearCPU, much.cpu*1e6), append(ratios, much.cpu/little.cpu)
		}
	}
	b.ReportMetric(median(cpu), "million_cpu_µs/event")
	b.ReportMetric(median(yearCPU), "year_cpu_µs/event")
	b.ReportMetric(median(ratios), "ratio")
}

// partFile is a file of a part: nobody changes one in place.
var partFile = regexp.MustCompile(`_\d+_\d+_\d+(_\d+)?/.*\.(bin|c?mrk\d?|cmrk2|cidx|idx|packed)$`)

// cloneYear opens the tables of the query benches' year, or skips the benchmark
// where there is none. The year stays as it is: files that may be written in
// place are copied, the others linked.
func cloneYear(b *testing.B) *clickhouse.Client {
	b.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		b.Fatal(err)
	}
	years, err := filepath.Glob(filepath.Join(cache, "agentmeter", "bench", "year-100000000-*", "complete"))
	if err != nil || len(years) == 0 {
		b.Skip("the year of 100 million events is made by the benches of ./query")
	}
	root := filepath.Join(cache, "agentmeter", "bench")
	dir, err := os.MkdirTemp(root, "clone-") // links need one file system
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	if err := cloneEngine(filepath.Join(filepath.Dir(years[0]), "engine"), dir); err != nil {
		b.Fatal(err)
	}
	config := clickhouse.Config{URL: enginetest.StartIn(b, dir)}
	if _, err := clickhouse.Migrate(b.Context(), config, tables.Migrations, nil); err != nil {
		b.Fatal(err)
	}
	client, err := clickhouse.Open(config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Close() })
	// The year has no view of ids, and another topic's stream.
	text, err := tables.Migrations.ReadFile("00009_id_places.sql")
	if err != nil {
		b.Fatal(err)
	}
	_, view, found := strings.Cut(string(text), "CREATE MATERIALIZED VIEW")
	if !found {
		b.Fatal("no view of ids")
	}
	mustExec(b, client, "CREATE MATERIALIZED VIEW"+strings.TrimRight(view, "; \n"))
	mustExec(b, client, "TRUNCATE TABLE usage_streams")
	return client
}

func cloneEngine(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, 0o700)
		case entry.Type()&fs.ModeSymlink != 0:
			if strings.HasPrefix(name, "data"+string(filepath.Separator)) {
				return nil // the engine makes these anew
			}
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case partFile.MatchString(name):
			return os.Link(path, target)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o600)
	})
}
