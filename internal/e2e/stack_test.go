package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"agentmeter/internal/embedded/enginetest"
	"agentmeter/internal/processes"
)

// binary is the agentmeter under test.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "agentmeter-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "agentmeter")
		build := exec.Command("go", "build", "-o", binary, "agentmeter/cmd/agentmeter")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build agentmeter:", err)
			return 1
		}
		return m.Run()
	}())
}

const (
	startPatience = 60 * time.Second
	stopPatience  = 40 * time.Second
	countPatience = 60 * time.Second
)

// process is a running agentmeter.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	name   string
	stdout *lockedBuffer
	stderr *lockedBuffer
	ended  chan struct{}
	err    error // of Wait, once ended is closed
}

// start runs agentmeter with the given arguments until the test ends.
func start(t testing.TB, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(binary, args...))
}

func startCommand(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, name: cmd.Args[1], stdout: &lockedBuffer{}, stderr: &lockedBuffer{}, ended: make(chan struct{})}
	p.cmd.Stdout = p.stdout
	p.cmd.Stderr = io.MultiWriter(&prefixWriter{t: t, prefix: p.name}, p.stderr)
	// A group of its own, so that what it starts ends with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(p.kill)
	return p
}

// kill ends the process as kill -9 does, and waits until it is gone, and its children
// with their addresses and files.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // it may be gone already
	<-p.ended
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(stopPatience); processes.GroupAlive(p.cmd.Process.Pid); <-ticker.C {
		if time.Now().After(deadline) {
			p.t.Errorf("%s was killed, and something of it lives after %s", p.name, stopPatience)
			return
		}
	}
}

// stop asks the process to drain and checks that it exits with 0.
func (p *process) stop() {
	p.t.Helper()
	if err := p.drain(); err != nil {
		p.t.Fatal(err)
	}
}

// drain is stop for those who may not end the test.
func (p *process) drain() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
		if p.err != nil {
			return fmt.Errorf("%s ended with %w after SIGTERM, want exit status 0", p.name, p.err)
		}
		return nil
	case <-time.After(stopPatience):
		return fmt.Errorf("%s did not stop within %s of SIGTERM", p.name, stopPatience)
	}
}

// instance is `agentmeter run` on a data directory.
type instance struct {
	*process
	dir       string
	endpoints struct {
		HTTP       string `json:"http"`
		Kafka      string `json:"kafka"`
		ClickHouse string `json:"clickhouse"`
	}
}

// runOn starts an instance on free ports and waits until it is ready.
func runOn(t testing.TB, dir string, args ...string) *instance {
	t.Helper()
	enginetest.Require(t)
	i := &instance{dir: dir}
	i.process = start(t, append([]string{
		"run", "--data-dir", dir,
		"--http-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--clickhouse-listen", "127.0.0.1:0",
	}, args...)...)
	i.waitFor("to be ready", startPatience, func() error {
		content, err := os.ReadFile(filepath.Join(dir, "endpoints.json"))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(content, &i.endpoints); err != nil {
			return err
		}
		return expectStatus(t, http.MethodGet, i.endpoints.HTTP+"/readyz", "", nil, http.StatusOK)
	})
	return i
}

// waitFor polls until condition returns nil.
func (p *process) waitFor(what string, patience time.Duration, condition func() error) {
	p.t.Helper()
	if err := p.await(what, patience, condition); err != nil {
		p.t.Fatal(err)
	}
}

// await is waitFor for those who may not end the test.
func (p *process) await(what string, patience time.Duration, condition func() error) error {
	deadline := time.Now().Add(patience)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %s for %s %s: %w", patience, p.name, what, err)
		}
		select {
		case <-ticker.C:
		case <-p.ended:
			return fmt.Errorf("%s ended (%w) before it came %s: %w", p.name, p.err, what, err)
		}
	}
}

func expectStatus(t testing.TB, method, address, token string, body io.Reader, want int) error {
	status, content := call(t, method, address, token, body)
	if status != want {
		return fmt.Errorf("%s %s: status %d, want %d: %.500s", method, address, status, want, content)
	}
	return nil
}

// call makes a request and returns status and body; status 0 means that nobody
// answered.
func call(t testing.TB, method, address, token string, body io.Reader) (int, []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	return response.StatusCode, content
}

// get reads JSON into v.
func get(t testing.TB, address, token string, v any) {
	t.Helper()
	status, content := call(t, http.MethodGet, address, token, nil)
	if status != http.StatusOK {
		t.Fatalf("GET %s: status %d: %s", address, status, content)
	}
	if err := json.Unmarshal(content, v); err != nil {
		t.Fatalf("GET %s: %v: %s", address, err, content)
	}
}

// agentmeter runs a command to its end and returns its exit code and output.
func agentmeter(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// mustAgentmeter is agentmeter for commands that have to succeed.
func mustAgentmeter(t testing.TB, args ...string) string {
	t.Helper()
	code, stdout, stderr := agentmeter(t, args...)
	if code != 0 {
		t.Fatalf("agentmeter %s: exit status %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

func (i *instance) token(workspace, scopes string) string {
	i.t.Helper()
	return strings.TrimSpace(mustAgentmeter(i.t, "token", "--data-dir", i.dir, "--workspace", workspace, "--scope", scopes))
}

// sql asks the engine over ClickHouse's HTTP protocol, as curl would.
func sql(t testing.TB, clickhouse, query string) string {
	t.Helper()
	status, content := call(t, http.MethodPost, clickhouse+"/?database=agentmeter", "", strings.NewReader(query))
	if status != http.StatusOK {
		t.Fatalf("%s: status %d: %s", query, status, content)
	}
	return strings.TrimSpace(string(content))
}

// dashboard is the part of the answer that the tests compare.
type dashboard struct {
	Range struct {
		Start, End, Timezone, Grain string
	}
	Summary struct {
		Credits, Messages string
	}
	Series []struct {
		Start, End, State string
		Credits, Messages *string
	}
	Agents []struct {
		ID, Name, Credits, Messages, Share string
	}
	AgentsTotal int `json:"agents_total"`
	Freshness   struct {
		CountedThrough string `json:"counted_through"`
	}
	Completeness       string
	PlaygroundMessages string `json:"playground_messages"`
	RecordedEvents     string `json:"recorded_events"`
}

func readDashboard(t testing.TB, base, token, workspace, parameters string) dashboard {
	t.Helper()
	var d dashboard
	get(t, base+"/v1/usage/dashboard?workspace="+url.QueryEscape(workspace)+"&"+parameters, token, &d)
	return d
}

// lockedBuffer is a bytes.Buffer that two goroutines may use.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// prefixWriter passes a process's log on to the test's.
type prefixWriter struct {
	t      testing.TB
	prefix string
}

func (w *prefixWriter) Write(p []byte) (int, error) {
	fmt.Fprintf(w.t.Output(), "%s| %s", w.prefix, p)
	return len(p), nil
}
