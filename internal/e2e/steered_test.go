package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"agentmeter/internal/crash"
)

// steered is the whole product as five processes, which browser tests steer
// over HTTP: they stop and start each, and set the clock by which questions are
// answered.
type steered struct {
	t         *testing.T
	binary    string // the build whose clock can be set
	key       string // file of the access key
	clockFile string
	control   *httptest.Server

	mu    sync.Mutex // guards what follows: one order after another
	roles map[string]*role
	now   time.Time // the last one set
}

type role struct {
	args  []string
	ready string // an address that answers 200 once the role works
	*process
}

// steer starts the processes.
func steer(t *testing.T) *steered {
	t.Helper()
	dir := t.TempDir()
	built, err := crash.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &steered{t: t, binary: built, key: filepath.Join(dir, "access.key"), clockFile: filepath.Join(dir, "clock"), now: time.Now()}
	if err := os.WriteFile(s.clockFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kafka, clickhouse := freeAddress(), freeAddress()
	stage := func(name string, args ...string) *role {
		address := freeAddress()
		return &role{args: append([]string{name, "--token-key-file", s.key, "--http-listen", address}, args...), ready: "http://" + address + "/readyz"}
	}
	s.roles = map[string]*role{
		"broker": {args: []string{"broker", "--data-dir", dir, "--kafka-listen", kafka}},
		"engine": {args: []string{"engine", "--data-dir", dir, "--clickhouse-listen", clickhouse}, ready: "http://" + clickhouse + "/ping"},
		"ingest": stage("ingest", "--kafka", kafka),
		"rollup": stage("rollup", "--kafka", kafka, "--clickhouse", "http://"+clickhouse),
		"query":  stage("query", "--clickhouse", "http://"+clickhouse),
	}
	for _, name := range []string{"broker", "engine"} {
		s.must(s.start(name))
	}
	mustAgentmeter(t, "migrate", "--kafka", kafka, "--clickhouse", "http://"+clickhouse)
	for _, name := range []string{"ingest", "rollup", "query"} {
		s.must(s.start(name))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /start", s.order(s.start))
	mux.HandleFunc("POST /stop", s.order(s.stop))
	mux.HandleFunc("POST /kill", s.order(s.strike))
	mux.HandleFunc("POST /freeze", s.order(s.signal(syscall.SIGSTOP)))
	mux.HandleFunc("POST /thaw", s.order(s.signal(syscall.SIGCONT)))
	mux.HandleFunc("POST /clock", s.order(s.setClock))
	mux.HandleFunc("POST /restore", s.order(s.restore))
	s.control = httptest.NewServer(mux)
	t.Cleanup(s.control.Close)
	return s
}

func (s *steered) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// base is where a role listens.
func (s *steered) base(name string) string {
	return strings.TrimSuffix(strings.TrimSuffix(s.roles[name].ready, "/readyz"), "/ping")
}

// environment is what browser tests find the processes by.
func (s *steered) environment() []string {
	token := strings.TrimSpace(mustAgentmeter(s.t, "token", "--token-key-file", s.key, "--workspace", "*",
		"--scope", "usage:read,events:write,events:import,adjustments:write,directory:write"))
	return []string{
		"E2E_BASE=" + s.base("query"), "E2E_INGEST=" + s.base("ingest"), "E2E_ENGINE=" + s.base("engine"),
		"E2E_CONTROL=" + s.control.URL, "E2E_TOKEN=" + token,
	}
}

// order answers a POST with {"to": …} once the order is carried out.
func (s *steered) order(carryOut func(to string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			To string `json:"to"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := carryOut(body.To); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *steered) role(name string) (*role, error) {
	if r := s.roles[name]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("no role %q", name)
}

// start runs a role that does not run, and waits until it works.
func (s *steered) start(name string) error {
	r, err := s.role(name)
	if err != nil {
		return err
	}
	if r.process != nil {
		return fmt.Errorf("%s runs already", name)
	}
	cmd := exec.Command(s.binary, r.args...)
	cmd.Env = append(os.Environ(), "AGENTMETER_CLOCK="+s.clockFile)
	r.process = startCommand(s.t, cmd)
	return r.await("to be ready", startPatience, func() error {
		if r.ready == "" { // it prints its address then
			if r.stdout.String() == "" {
				return errors.New("it has not said where it listens")
			}
			return nil
		}
		return expectStatus(s.t, http.MethodGet, r.ready, "", nil, http.StatusOK)
	})
}

// stop ends a role in good order.
func (s *steered) stop(name string) error {
	r, err := s.role(name)
	if err != nil {
		return err
	}
	if r.process == nil {
		return fmt.Errorf("%s does not run", name)
	}
	defer func() { r.process = nil }()
	return r.drain()
}

// strike ends a role as kill -9 does.
func (s *steered) strike(name string) error {
	r, err := s.role(name)
	if err != nil {
		return err
	}
	if r.process == nil {
		return fmt.Errorf("%s does not run", name)
	}
	r.kill()
	r.process = nil
	return nil
}

func (s *steered) signal(signal syscall.Signal) func(name string) error {
	return func(name string) error {
		r, err := s.role(name)
		if err != nil {
			return err
		}
		if r.process == nil {
			return fmt.Errorf("%s does not run", name)
		}
		return r.cmd.Process.Signal(signal)
	}
}

// restore makes everything run, by the machine's clock, whatever was done to it.
func (s *steered) restore(string) error {
	if err := s.setClock(""); err != nil {
		return err
	}
	for _, name := range []string{"broker", "engine", "ingest", "rollup", "query"} {
		run := s.start
		if s.roles[name].process != nil {
			run = s.signal(syscall.SIGCONT)
		}
		if err := run(name); err != nil {
			return err
		}
	}
	return nil
}

// setClock stops the clock at an instant in RFC 3339, or lets it run where
// there is none. The directory's changes are never dated before the last one,
// so ingest begins anew where time goes back.
func (s *steered) setClock(to string) error {
	now := time.Now()
	if to != "" {
		var err error
		if now, err = time.Parse(time.RFC3339Nano, to); err != nil {
			return err
		}
	}
	if err := os.WriteFile(s.clockFile+".new", []byte(to), 0o600); err != nil {
		return err
	}
	if err := os.Rename(s.clockFile+".new", s.clockFile); err != nil {
		return err
	}
	back := now.Before(s.now)
	s.now = now
	if !back || s.roles["ingest"].process == nil {
		return nil
	}
	if err := s.stop("ingest"); err != nil {
		return err
	}
	return s.start("ingest")
}
