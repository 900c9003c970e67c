package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/kafka"
	"agentmeter/internal/slowtest"
)

// stages are the three roles on the embedded broker and an engine that may make
// backups, as docs/operations/backup.md has it.
type stages struct {
	t                           *testing.T
	dir, key, backups           string
	kafka, clickhouse           string
	engine, ingest, rollup      *process
	ingestBase, queryBase       string
	rollupBase                  string
	toKafka, toClickhouse, both []string
}

func startStages(t *testing.T) *stages {
	t.Helper()
	s := &stages{t: t, dir: t.TempDir(), clickhouse: "http://" + freeAddress()}
	s.key, s.backups = filepath.Join(s.dir, "access.key"), filepath.Join(s.dir, "backups")
	config := "<clickhouse><backups><allowed_path>" + s.backups + "/</allowed_path></backups></clickhouse>"
	if err := os.WriteFile(filepath.Join(s.dir, "engine.xml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	_, s.kafka = startPrinted(t, "broker", "--data-dir", s.dir, "--kafka-listen", "127.0.0.1:0")
	s.startEngine()
	s.toKafka, s.toClickhouse = []string{"--kafka", s.kafka}, []string{"--clickhouse", s.clickhouse}
	s.both = append(append([]string{}, s.toKafka...), s.toClickhouse...)
	mustAgentmeter(t, append([]string{"migrate"}, s.both...)...)
	s.ingest, s.ingestBase = startStage(t, append([]string{"ingest", "--token-key-file", s.key}, s.toKafka...)...)
	_, s.queryBase = startStage(t, append([]string{"query", "--token-key-file", s.key}, s.toClickhouse...)...)
	s.startRollup()
	return s
}

func (s *stages) startEngine() {
	s.t.Helper()
	s.engine, _ = startPrinted(s.t, "engine", "--data-dir", s.dir, "--clickhouse-listen", strings.TrimPrefix(s.clickhouse, "http://"),
		"--engine-config", filepath.Join(s.dir, "engine.xml"))
}

func (s *stages) startRollup() {
	s.t.Helper()
	s.rollup, s.rollupBase = startStage(s.t, append([]string{"rollup", "--token-key-file", s.key}, s.both...)...)
}

func (s *stages) token(workspace, scopes string) string {
	s.t.Helper()
	return strings.TrimSpace(mustAgentmeter(s.t, "token", "--token-key-file", s.key, "--workspace", workspace, "--scope", scopes))
}

func (s *stages) command(name string, args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	return agentmeter(s.t, append(append(strings.Fields(name), s.both...), args...)...)
}

func (s *stages) must(name string, args ...string) string {
	s.t.Helper()
	return mustAgentmeter(s.t, append(append(strings.Fields(name), s.both...), args...)...)
}

// loseEngine destroys ClickHouse and all it had, and starts an empty one.
func (s *stages) loseEngine() {
	s.t.Helper()
	s.engine.kill()
	if err := os.RemoveAll(filepath.Join(s.dir, "clickhouse")); err != nil {
		s.t.Fatal(err)
	}
	s.startEngine()
}

// restore puts all tables back into a ClickHouse that has none.
func (s *stages) restore(name string) {
	s.t.Helper()
	status, content := call(s.t, http.MethodPost, s.clickhouse, "", strings.NewReader("RESTORE DATABASE agentmeter FROM File('"+name+"')"))
	if status != http.StatusOK {
		s.t.Fatalf("restore: status %d: %s", status, content)
	}
}

func TestRestoredBackupCatchesUpFromKafka(t *testing.T) {
	slowtest.Begin(t)
	s := startStages(t)
	const workspace = "ws_backup"
	read := s.token(workspace, "usage:read")
	w := newTraffic(t, workspace)
	w.begin(s.ingestBase, s.token(workspace, "events:write"))
	w.passes(500)

	// A backup while events come in and are counted.
	sql(t, s.clickhouse, "BACKUP DATABASE agentmeter TO File('monday')")
	w.passes(500)
	sql(t, s.clickhouse, "BACKUP DATABASE agentmeter TO File('tuesday') SETTINGS base_backup = File('monday')")
	backedUp := sql(t, s.clickhouse, "SELECT count() FROM usage_ledger")
	w.passes(500)
	s.rollup.waitFor("to count more than the backup has", countPatience, func() error {
		if now := sql(t, s.clickhouse, "SELECT count() FROM usage_ledger"); now == backedUp {
			return notYetError{now}
		}
		return nil
	})

	// ClickHouse is gone, with what it had; events go on coming in.
	s.rollup.stop()
	s.loseEngine()
	w.passes(100)
	s.restore("tuesday")
	s.must("rebuild")
	s.startRollup()
	w.passes(100)
	w.end()
	w.counted(s.rollup, s.queryBase, read)
	if out := s.must("audit"); !strings.Contains(out, "Exact:") {
		t.Errorf("audit: %s", out)
	}
}

// What neither the backup nor Kafka has is lost, and that is said, not guessed.
func TestRestoredBackupThatKafkaCannotCompleteSaysSo(t *testing.T) {
	slowtest.Begin(t)
	s := startStages(t)
	const workspace = "ws_lost"
	read, write := s.token(workspace, "usage:read"), s.token(workspace, "events:write")
	w := newTraffic(t, workspace)
	w.send(s.ingestBase, write, 100)
	w.counted(s.rollup, s.queryBase, read)
	sql(t, s.clickhouse, "BACKUP DATABASE agentmeter TO File('monday')")
	w.send(s.ingestBase, write, 200)
	w.counted(s.rollup, s.queryBase, read)
	s.rollup.stop()
	s.loseEngine()
	lost := dropAllButTheLast(t, s.kafka)
	if len(lost) == 0 {
		t.Fatal("nothing was dropped")
	}
	s.restore("monday")
	s.command("rebuild") // it ends with the audit, which is of another mind; see below
	s.startRollup()
	s.rollup.waitFor("to halt", countPatience, func() error {
		if halted := sql(t, s.clickhouse, "SELECT count() FROM rollup_progress FINAL WHERE halted LIKE '%deleted before they were counted%'"); halted != fmt.Sprint(len(lost)) {
			return notYetError{halted}
		}
		return nil
	})
	code, stdout, _ := s.command("audit")
	if code != 1 || !strings.Contains(stdout, "NOT EXACT") {
		t.Errorf("audit: exit status %d, want 1: %s", code, stdout)
	}
	// At once: nobody has asked since, so that nothing is known from before.
	d := readDashboard(t, s.queryBase, read, workspace, "from="+w.day.Format(time.DateOnly)+"&to="+time.Now().UTC().Format(time.DateOnly))
	if d.Completeness != "partial" {
		t.Errorf("figures that lack records are called complete: %+v", d.Summary)
	}

	// Once the loss is accepted counting goes on, and the ledger shows it for ever.
	for partition, through := range lost {
		s.must("accept-loss", "--partition", fmt.Sprint(partition), "--through", fmt.Sprint(through))
	}
	s.rollup.waitFor("to go on", countPatience, func() error {
		if halted := sql(t, s.clickhouse, "SELECT count() FROM rollup_progress FINAL WHERE halted != ''"); halted != "0" {
			return notYetError{halted}
		}
		return nil
	})
	s.settled()
	s.must("audit")
	gaps := sql(t, s.clickhouse, "SELECT countIf(outcome = 'gap' AND detail = 'lost') > 0, count() = 300 FROM usage_ledger")
	if gaps != "1\t1" {
		t.Errorf("lost records are shown, and all add up: %s", gaps)
	}
}

func TestLostClickHouseIsCountedAgainFromKafka(t *testing.T) {
	slowtest.Begin(t)
	s := startStages(t)
	const workspace = "ws_anew"
	read, write := s.token(workspace, "usage:read"), s.token(workspace, "events:write,directory:write")
	if err := expectStatus(t, http.MethodPut, s.ingestBase+"/v1/workspaces/"+workspace+"/agents/agt_1", write, strings.NewReader(`{"name":"Known again"}`), http.StatusAccepted); err != nil {
		t.Fatal(err)
	}
	w := newTraffic(t, workspace)
	w.send(s.ingestBase, write, 300)
	w.counted(s.rollup, s.queryBase, read)
	s.rollup.stop()
	s.loseEngine()
	s.must("migrate")
	s.startRollup()
	w.send(s.ingestBase, write, 100)
	w.counted(s.rollup, s.queryBase, read)
	s.rollup.waitFor("to have the directory", countPatience, func() error {
		if name := sql(t, s.clickhouse, "SELECT any(name) FROM directory_agents"); name != "Known again" {
			return notYetError{name}
		}
		return nil
	})
	s.must("audit")
}

func partitionEnds(t *testing.T, address string) map[int32]int64 {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kafka.LogEnds(t.Context(), kadm.NewClient(client), kafka.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	return ends
}

// dropAllButTheLast deletes the events of each partition but for the last, as
// retention would, and returns where the log of each begins now.
func dropAllButTheLast(t *testing.T, address string) map[int32]int64 {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	begins := make(map[int32]int64)
	below := make(kadm.Offsets)
	for partition, end := range partitionEnds(t, address) {
		if end < 2 {
			continue
		}
		begins[partition] = end - 1
		below.AddOffset(kafka.TopicEvents, partition, end-1, -1)
	}
	deleted, err := kadm.NewClient(client).DeleteRecords(context.WithoutCancel(t.Context()), below)
	if err != nil || deleted.Error() != nil {
		t.Fatal(err, deleted.Error())
	}
	return begins
}

// The embedded mode's own backup: a stopped data directory, copied.
func TestCopiedDataDirectoryIsABackup(t *testing.T) {
	slowtest.Begin(t)
	dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "data-copy")
	const workspace = "ws_copy"
	w := newTraffic(t, workspace)

	i := runOn(t, dir)
	w.send(i.endpoints.HTTP, i.token(workspace, "events:write"), 100)
	w.counted(i.process, i.endpoints.HTTP, i.token(workspace, "usage:read"))
	i.stop()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}

	i = runOn(t, dir)
	w.send(i.endpoints.HTTP, i.token(workspace, "events:write"), 100)
	w.counted(i.process, i.endpoints.HTTP, i.token(workspace, "usage:read"))
	i.kill()
	if err := os.RemoveAll(filepath.Join(dir, "clickhouse")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "clickhouse"), os.DirFS(filepath.Join(copied, "clickhouse"))); err != nil {
		t.Fatal(err)
	}

	i = runOn(t, dir)
	w.send(i.endpoints.HTTP, i.token(workspace, "events:write"), 100)
	w.counted(i.process, i.endpoints.HTTP, i.token(workspace, "usage:read"))
	mustAgentmeter(t, "audit", "--data-dir", dir)
}
