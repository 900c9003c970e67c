package e2e

import (
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"agentmeter/internal/freeaddress"
	"agentmeter/internal/slowtest"
)

// freeAddress is an address that nobody listens on. The stages need one that the
// test knows, and some are stopped and started on theirs.
func freeAddress() string { return freeaddress.Find(rand.IntN) }

// startStage runs one role and waits until it is ready.
func startStage(t testing.TB, args ...string) (p *process, base string) {
	t.Helper()
	address := freeAddress()
	p = start(t, append(args, "--http-listen", address)...)
	base = "http://" + address
	p.waitFor("to be ready", startPatience, func() error {
		return expectStatus(t, http.MethodGet, base+"/readyz", "", nil, http.StatusOK)
	})
	return p, base
}

// startPrinted runs the embedded broker or engine alone and returns the address
// that it prints.
func startPrinted(t testing.TB, args ...string) (p *process, address string) {
	t.Helper()
	p = start(t, args...)
	p.waitFor("to print its address", startPatience, func() error {
		address = strings.TrimSpace(p.stdout.String())
		if address == "" {
			return os.ErrNotExist
		}
		return nil
	})
	return p, address
}

func TestThreeStagesAsProcessesCountTheSame(t *testing.T) {
	slowtest.Begin(t)
	dir := t.TempDir()
	_, address := startPrinted(t, "broker", "--data-dir", dir, "--kafka-listen", "127.0.0.1:0")
	threeStagesCountTheSame(t, dir, "--kafka", address)
}

// threeStagesCountTheSame runs each stage as a process on the Kafka that flags
// lead to, and holds it to the trace's answer.
func threeStagesCountTheSame(t *testing.T, dir string, kafka ...string) {
	t.Helper()
	_, clickhouse := startPrinted(t, "engine", "--data-dir", dir, "--clickhouse-listen", "127.0.0.1:0")
	toBoth := append([]string{"--clickhouse", clickhouse}, kafka...)
	mustAgentmeter(t, append([]string{"migrate"}, toBoth...)...)
	mustAgentmeter(t, append([]string{"migrate"}, toBoth...)...) // safe to run twice

	key := filepath.Join(dir, "access.key")
	ingest, ingestBase := startStage(t, append([]string{"ingest", "--token-key-file", key}, kafka...)...)
	query, queryBase := startStage(t, "query", "--clickhouse", clickhouse, "--token-key-file", key)
	rollup, rollupBase := startStage(t, append([]string{"rollup", "--token-key-file", key}, toBoth...)...)

	tokenFile := filepath.Join(dir, "token")
	writeToken := mustAgentmeter(t, "token", "--token-key-file", key, "--workspace", "*", "--scope", "events:write,events:import")
	if err := os.WriteFile(tokenFile, []byte(writeToken), 0o600); err != nil {
		t.Fatal(err)
	}
	read := strings.TrimSpace(mustAgentmeter(t, "token", "--token-key-file", key, "--workspace", "ws_trace", "--scope", "usage:read"))

	mustAgentmeter(t, "import", "--url", ingestBase, "--token-file", tokenFile, traceFile)
	waitTrace(rollup, queryBase, read)
	checkTrace(t, queryBase, read, clickhouse, append([]string{"audit"}, toBoth...))

	for role, base := range map[string]string{"ingest": ingestBase, "query": queryBase, "rollup": rollupBase} {
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			status, content := call(t, http.MethodGet, base+path, "", nil)
			if status != http.StatusOK {
				t.Errorf("%s%s: status %d: %s", role, path, status, content)
			}
			if path == "/metrics" && !strings.Contains(string(content), "agentmeter_build_info") {
				t.Errorf("%s exports no metrics of its own", role)
			}
		}
	}
	for _, stage := range []*process{ingest, query, rollup} {
		stage.stop()
	}
}

func TestDataDirectoryHasOneHolder(t *testing.T) {
	dir := t.TempDir()
	i := runOn(t, dir)
	code, _, stderr := agentmeter(t, "run", "--data-dir", dir, "--http-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--clickhouse-listen", "127.0.0.1:0")
	if code == 0 || !strings.Contains(stderr, "held by another") {
		t.Errorf("a second instance: exit status %d, said %q", code, stderr)
	}
	// The first one is none the worse for it.
	if err := expectStatus(t, http.MethodGet, i.endpoints.HTTP+"/readyz", "", nil, http.StatusOK); err != nil {
		t.Error(err)
	}
	// After kill -9 the directory is free at once, all processes of it are gone,
	// and what it left behind is not believed.
	i.kill()
	if code, _, stderr := agentmeter(t, "import", "--data-dir", dir, traceFile); code != 2 || !strings.Contains(stderr, "nothing runs") {
		t.Errorf("import into a dead instance: exit status %d, said %q", code, stderr)
	}
	again := runOn(t, dir)
	// The dead instance's engine is gone, too: nobody answers on its address.
	again.waitFor("to be alone", startPatience, func() error {
		if status, _ := call(t, http.MethodGet, i.endpoints.ClickHouse+"/ping", "", nil); status != 0 {
			return notYetError{"an engine still answers"}
		}
		return nil
	})
	again.stop()
	if _, err := os.Stat(filepath.Join(dir, "endpoints.json")); err == nil {
		t.Error("endpoints.json outlives an orderly stop")
	}
}

func TestEachKindOfCallerIsToldApart(t *testing.T) {
	slowtest.Begin(t)
	i := runOn(t, t.TempDir())
	base := i.endpoints.HTTP
	write, read := i.token("ws_a", "events:write"), i.token("ws_a", "usage:read")
	event := `{"id":"e1","workspace_id":"ws_a","agent_id":"agt","occurred_at":"` + nowText() + `","channel":"embed","credits":"1.5"}`
	for _, test := range []struct {
		name, method, path, token, body string
		want                            int
	}{
		{"no token", "POST", "/v1/events", "", event, 401},
		{"a forged token", "POST", "/v1/events", write + "x", event, 401},
		{"another scope", "POST", "/v1/events", read, event, 403},
		{"another workspace", "GET", "/v1/usage/dashboard?workspace=ws_b", read, "", 404},
		{"a broken body", "POST", "/v1/events", write, `[{"id":`, 400},
		{"nothing acceptable", "POST", "/v1/events", write, strings.Replace(event, `"1.5"`, `"-1"`, 1), 422},
		{"one event", "POST", "/v1/events", write, event, 202},
		{"an unknown preset", "GET", "/v1/usage/dashboard?workspace=ws_a&range=fortnight", read, "", 400},
		{"too many bars", "GET", "/v1/usage/dashboard?workspace=ws_a&range=90d&grain=minute", read, "", 400},
		{"a workspace that nothing mentioned", "GET", "/v1/usage/dashboard?workspace=ws_new", i.token("ws_new", "usage:read"), "", 200},
	} {
		var body *strings.Reader
		var status int
		var content []byte
		if test.body != "" {
			body = strings.NewReader(test.body)
			status, content = call(t, test.method, base+test.path, test.token, body)
		} else {
			status, content = call(t, test.method, base+test.path, test.token, nil)
		}
		if status != test.want {
			t.Errorf("%s: status %d, want %d: %s", test.name, status, test.want, content)
		}
		if status >= 400 && (!strings.Contains(string(content), `"code"`) || !strings.Contains(string(content), `"trace_id"`)) {
			t.Errorf("%s: no problem document: %s", test.name, content)
		}
		if strings.Contains(string(content), "ws_b") {
			t.Errorf("%s: the answer echoes a foreign workspace: %s", test.name, content)
		}
	}
	// A batch with one bad event counts the others and lists the bad one.
	batch := "[" + strings.Replace(event, "e1", "e2", 1) + "," + strings.Replace(event, `"1.5"`, `"x"`, 1) + "," + strings.Replace(event, "e1", "e3", 1) + "]"
	status, content := call(t, "POST", base+"/v1/events", write, strings.NewReader(batch))
	if status != 202 || !strings.Contains(string(content), `"accepted":2`) || !strings.Contains(string(content), `"index":1`) {
		t.Errorf("a batch with one bad event: status %d: %s", status, content)
	}
	i.waitFor("to count the three events", countPatience, func() error {
		d := readDashboard(t, base, read, "ws_a", "range=7d") // midnight may pass meanwhile
		if d.Summary.Credits != "4.5" {
			return notYetError{d.Summary.Credits}
		}
		return nil
	})
}

// A stop that comes while it is still starting is an orderly one.
func TestStoppedWhileStartingIsNoFailure(t *testing.T) {
	slowtest.Begin(t)
	p := start(t, "run", "--data-dir", t.TempDir(), "--http-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--clickhouse-listen", "127.0.0.1:0")
	p.waitFor("to begin", startPatience, func() error {
		_, err := os.Stat(filepath.Join(p.cmd.Args[3], "kafka"))
		return err
	})
	p.stop()
}
