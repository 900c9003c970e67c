package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"agentmeter/internal/slowtest"
)

// conflict sends an event under the id of one that was counted, with another
// payload: it goes to the dead letters.
func (w *traffic) conflict(ingest, token string) {
	w.t.Helper()
	body, _ := w.event(0)
	body = strings.Replace(body, `"channel":"embed"`, `"channel":"other"`, 1)
	if err := expectStatus(w.t, http.MethodPost, ingest+"/v1/events", token, strings.NewReader(body), http.StatusAccepted); err != nil {
		w.t.Fatal(err)
	}
}

// settled waits until everything that Kafka has is in the ledger.
func (s *stages) settled() {
	s.t.Helper()
	s.rollup.waitFor("to count everything", countPatience, func() error {
		want := int64(0)
		for _, end := range partitionEnds(s.t, s.kafka) {
			want += end
		}
		if got := sql(s.t, s.clickhouse, "SELECT count() FROM usage_ledger"); got != fmt.Sprint(want) {
			return notYetError{fmt.Sprintf("%s of %d", got, want)}
		}
		return nil
	})
}

// nothingOf checks that no table says anything of a workspace, but for the list
// of the erased ones.
func (s *stages) nothingOf(workspace string) {
	s.t.Helper()
	for _, table := range strings.Fields(sql(s.t, s.clickhouse, "SELECT name FROM system.tables WHERE database = 'agentmeter' AND engine LIKE '%MergeTree' AND name != 'usage_erasures'")) {
		if got := sql(s.t, s.clickhouse, "SELECT countIf(position(toString(tuple(*)), '"+workspace+"') > 0) FROM "+table); got != "0" {
			s.t.Errorf("%s has %s rows of %s", table, got, workspace)
		}
	}
	ids := sql(s.t, s.clickhouse, "SELECT count() FROM usage_id_places WHERE (stream, partition, offset) NOT IN (SELECT stream, partition, offset FROM usage_ledger WHERE outcome IN ('counted', 'playground', 'adjustment'))")
	if ids != "0" {
		s.t.Errorf("%s ids are known of nothing that was counted", ids)
	}
	for _, list := range []string{s.must("deadletter list"), s.must("deadletter list", "--json")} {
		if strings.Contains(list, workspace) {
			s.t.Errorf("dead letters: %s", list)
		}
	}
}

// heldAfter is a door to the engine that lets nothing through any more once a
// statement has come that begins so, and says whether it has.
func (s *stages) heldAfter(beginning string) (*httptest.Server, *atomic.Bool) {
	s.t.Helper()
	target, err := url.Parse(s.clickhouse)
	if err != nil {
		s.t.Fatal(err)
	}
	through := httputil.NewSingleHostReverseProxy(target)
	through.ErrorLog = silence
	came := new(atomic.Bool)
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		statement, err := io.ReadAll(r.Body)
		if err != nil || came.Load() {
			<-r.Context().Done() // until whoever asks is gone
			return
		}
		if bytes.HasPrefix(statement, []byte(beginning)) {
			came.Store(true)
		}
		r.Body = io.NopCloser(bytes.NewReader(statement))
		through.ServeHTTP(w, r)
	})), came
}

// eraseAndKill runs an erasure and kills it once it says that it is done with a
// table. It cannot go on from there, so that the kill always meets it.
func (s *stages) eraseAndKill(workspace, table string) {
	s.t.Helper()
	door, came := s.heldAfter("ALTER TABLE " + table + " ")
	defer door.Close()
	cmd := exec.Command(binary, append([]string{"erase", "--workspace", workspace, "--yes", "--clickhouse", door.URL}, s.toKafka...)...)
	progress, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewScanner(progress)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), table) {
			break
		}
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		s.t.Fatalf("it ended before it could be killed at %s", table)
	}
	if !came.Load() {
		s.t.Fatalf("no statement to change %s has come to the door", table)
	}
}

func TestErasedWorkspaceIsGoneAndStaysGone(t *testing.T) {
	slowtest.Begin(t)
	s := startStages(t)
	const gone, stays = "ws_gone", "ws_stays"
	write := s.token("*", "events:write,events:import,directory:write")
	readGone, readStays := s.token(gone, "usage:read"), s.token(stays, "usage:read")
	erased, other := newTraffic(t, gone), newTraffic(t, stays)
	for _, w := range []*traffic{erased, other} {
		for path, body := range map[string]string{
			"": `{"name":"Named ` + w.workspace + `"}`, "/agents/agt_1": `{"name":"Agent of ` + w.workspace + `"}`, "/members/mem_1": `{"name":"Ada of ` + w.workspace + `"}`,
		} {
			if err := expectStatus(t, http.MethodPut, s.ingestBase+"/v1/workspaces/"+w.workspace+path, write, strings.NewReader(body), http.StatusAccepted); err != nil {
				t.Fatal(err)
			}
		}
		w.send(s.ingestBase, write, 300)
		w.conflict(s.ingestBase, write)
	}
	erased.counted(s.rollup, s.queryBase, readGone)
	other.counted(s.rollup, s.queryBase, readStays)
	s.rollup.waitFor("to know the agent's name", countPatience, func() error {
		if known := sql(t, s.clickhouse, "SELECT uniqExact(workspace) FROM directory_agents"); known != "2" {
			return notYetError{known}
		}
		return nil
	})

	// Asked what there is, it says so, and changes nothing.
	s.settled()
	credits, _ := erased.total()
	code, stdout, _ := s.command("erase", "--workspace", gone)
	if code != 1 || !strings.Contains(stdout, "it used "+credits.String()+" credits") || !strings.Contains(stdout, "usage_ledger: 301 rows") ||
		!strings.Contains(stdout, "usage.deadletter.v1: 1 records") || !strings.Contains(stdout, "usage.directory.v1: 3 records") {
		t.Errorf("a look: exit status %d: %s", code, stdout)
	}
	if err := erased.isCounted(s.queryBase, readGone); err != nil {
		t.Error(err)
	}

	// Killed in the middle, under traffic of both, and run again.
	erased.begin(s.ingestBase, write)
	other.begin(s.ingestBase, write)
	s.eraseAndKill(gone, "usage_ledger")
	s.eraseAndKill(gone, "usage_hour")
	s.must("erase", "--workspace", gone, "--yes")
	if code, stdout, _ := s.command("erase", "--workspace", gone); code != 0 {
		t.Errorf("what is left: exit status %d: %s", code, stdout)
	}
	other.passes(100)
	erased.end()
	other.end()

	check := func() {
		t.Helper()
		s.settled()
		other.counted(s.rollup, s.queryBase, readStays)
		s.nothingOf(gone)
		d := readDashboard(t, s.queryBase, readGone, gone, erased.parameters())
		if d.Summary.Credits != "0" || d.RecordedEvents != "0" || len(d.Agents) != 0 {
			t.Errorf("the page has %s credits, %s events and %d agents", d.Summary.Credits, d.RecordedEvents, len(d.Agents))
		}
		if out := s.must("audit"); !strings.Contains(out, "Exact:") || !strings.Contains(out, "erased") {
			t.Errorf("audit: %s", out)
		}
	}
	check()
	if letters := s.must("deadletter list"); !strings.Contains(letters, "payload_conflict") {
		t.Errorf("the other workspace's dead letter is gone: %s", letters)
	}

	// Late events, copies of old ones, and conflicts with them.
	erased.send(s.ingestBase, write, 100)
	if err := erased.post(s.ingestBase, write, 0, 300); err != nil {
		t.Fatal(err)
	}
	erased.conflict(s.ingestBase, write)
	if err := expectStatus(t, http.MethodPut, s.ingestBase+"/v1/workspaces/"+gone+"/agents/agt_2", write, strings.NewReader(`{"name":"Late"}`), http.StatusAccepted); err != nil {
		t.Fatal(err)
	}
	s.settled()
	s.must("rebuild")
	check()

	// The ledger loses its end, and is counted again from Kafka.
	s.rollup.stop()
	sql(t, s.clickhouse, "ALTER TABLE usage_ledger DELETE WHERE block_lo >= (SELECT min(block_hi) FROM usage_ledger) SETTINGS mutations_sync = 2")
	s.startRollup()
	check()
}
