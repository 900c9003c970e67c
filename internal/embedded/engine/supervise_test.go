package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"agentmeter/internal/embedded/chdb"
	"agentmeter/internal/embedded/engine"
	"agentmeter/internal/embedded/enginetest"
	"agentmeter/internal/processes"
)

// supervise starts an engine of the test's own on dir.
func supervise(t testing.TB, dir string) (*engine.Child, *db) {
	t.Helper()
	enginetest.Require(t)
	t.Setenv(childVariable, "1")
	c, err := engine.Supervise(t.Context(), engine.ChildConfig{
		Config:  engine.Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Registerer: prometheus.NewRegistry()},
		Listen:  "127.0.0.1:0",
		Command: []string{os.Args[0]},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("stop engine: %v", err)
		}
	})
	return c, &db{t: t, url: c.URL(), name: "default"}
}

// kill ends the engine's current process and waits until there is another one.
func kill(t testing.TB, c *engine.Child) {
	t.Helper()
	pid, restarts := c.PID(), c.Restarts()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the engine is started again", func() bool { return c.Restarts() > restarts && c.PID() != 0 && c.PID() != pid })
}

func TestCommittedBlocksSurviveKillsAndTheAddressStays(t *testing.T) {
	enginetest.Require(t)
	c, d := supervise(t, t.TempDir())
	d.exec("CREATE DATABASE d")
	d.name = "d"
	d.exec("CREATE TABLE ledger (p Int32, o Int64, s String) ENGINE = MergeTree ORDER BY (p, o)")

	const kills = 5
	var confirmed [2]atomic.Int64
	var stop atomic.Bool
	var writers sync.WaitGroup
	for p := range confirmed {
		writers.Go(func() {
			next := int64(0)
			for !stop.Load() {
				r := d.append(int32(p), next, next+2_000)
				switch {
				case r.err == nil && r.status == http.StatusOK:
					next += 2_000
				case r.code() == "395": // an earlier try got in after all
					end := d.post(fmt.Sprintf("SELECT max(o) + 1 FROM ledger WHERE p = %d", p))
					if end.err == nil && end.status == http.StatusOK {
						_, _ = fmt.Sscan(end.body, &next)
					}
				}
				confirmed[p].Store(next)
			}
		})
	}
	for range kills {
		at := confirmed[0].Load() + confirmed[1].Load()
		eventually(t, "some more blocks", func() bool { return confirmed[0].Load()+confirmed[1].Load() > at+10_000 })
		kill(t, c)
	}
	stop.Store(true)
	writers.Wait()
	for p := range confirmed {
		want := confirmed[p].Load()
		var count, low, high, distinct int64
		_, err := fmt.Sscan(d.exec(fmt.Sprintf("SELECT count(), min(o), max(o), uniqExact(o) FROM ledger WHERE p = %d", p)), &count, &low, &high, &distinct)
		if err != nil || low != 0 || count != distinct || high+1 != count || count < want {
			t.Errorf("partition %d: %d rows, %d distinct, [%d, %d], %d confirmed (%v)", p, count, distinct, low, high, want, err)
		}
	}
	if c.URL() != d.url || c.Restarts() != kills {
		t.Errorf("%s after %d restarts", c.URL(), c.Restarts())
	}
}

// What the library does with descriptor 0 at every INSERT could otherwise leave
// one waiting for ever, see TakeStdin.
func TestTheLibraryHasAnEmptyStandardInput(t *testing.T) {
	c, d := supervise(t, t.TempDir())
	d.exec("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
	d.exec("INSERT INTO t SELECT number FROM numbers(3)")
	for _, where := range []string{"at its start", "after a crash"} {
		if r := d.do(t.Context(), http.MethodPost, strings.NewReader("7\n"), nil, "query=INSERT INTO t FORMAT TSV"); r.status != http.StatusOK {
			t.Errorf("%s: %d %s", where, r.status, r.body)
		}
		if at, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/0", c.PID())); err != nil || at != os.DevNull {
			t.Errorf("%s standard input is %s (%v)", where, at, err)
		}
		kill(t, c)
	}
	d.want("5", "SELECT count() FROM t")
}

func TestClientsWaitWhileTheEngineComesBack(t *testing.T) {
	c, d := supervise(t, t.TempDir())
	if err := syscall.Kill(c.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// Not one connection is refused. A request may still meet the dying process.
	began := time.Now()
	eventually(t, "the engine answers", func() bool {
		r := d.post("SELECT 1")
		if errors.Is(r.err, syscall.ECONNREFUSED) {
			t.Fatal("connection refused")
		}
		return r.err == nil && r.body == "1\n"
	})
	t.Logf("answered %v after the kill", time.Since(began))
}

func TestOneProcessHoldsTheDirectory(t *testing.T) {
	dir := t.TempDir()
	supervise(t, dir)
	_, err := engine.Supervise(t.Context(), engine.ChildConfig{
		Config: engine.Config{Dir: dir}, Listen: "127.0.0.1:0", Command: []string{os.Args[0]},
	})
	if !errors.Is(err, engine.ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("the second engine got %v, want ErrInUse with the directory", err)
	}
}

func TestStopLetsStatementsFinish(t *testing.T) {
	dir := t.TempDir()
	c, d := supervise(t, dir)
	d.exec("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
	table, open := gate(t, 10)
	done := make(chan response, 1)
	go func() { done <- d.post("INSERT INTO t SELECT number FROM " + table + " WHERE sleepEachRow(0.05) = 0") }()
	d.running("sleepEachRow(0.05)")
	open() // it takes half a second from here
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.err != nil || r.status != http.StatusOK {
		t.Errorf("the statement under way: %d %s %v", r.status, r.body, r.err)
	}
	_, d = supervise(t, dir)
	d.want("10", "SELECT count() FROM t")
}

// The grandparent test: this process starts a parent, the parent an engine; the
// parent is killed and the engine must be gone with its lock and its address.
func TestTheEngineDiesWithItsParent(t *testing.T) {
	enginetest.Require(t)
	dir := t.TempDir()
	report := filepath.Join(t.TempDir(), "report")
	attr := &os.ProcAttr{
		Env:   append(os.Environ(), parentVariable+"="+dir, reportVariable+"="+report),
		Files: []*os.File{nil, nil, os.Stderr},
	}
	parent, err := os.StartProcess(os.Args[0], []string{os.Args[0]}, attr)
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	var address string
	eventually(t, "the engine's parent reports", func() bool {
		text, err := os.ReadFile(report)
		if err != nil {
			return false
		}
		n, _ := fmt.Sscan(string(text), &pid, &address)
		address = strings.TrimPrefix(address, "http://")
		return n == 2
	})
	if err := parent.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := parent.Wait(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	eventually(t, "the engine is gone", func() bool { return !processes.Alive(pid) })
	t.Logf("gone after %v", time.Since(began))
	// Before anything else listens, which may be given the very port.
	eventually(t, "its address is free", func() bool {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	_, d := supervise(t, dir)
	d.want("1", "SELECT 1")
}

const (
	parentVariable = "AGENTMETER_ENGINE_TEST_PARENT"
	reportVariable = "AGENTMETER_ENGINE_TEST_REPORT"
)

// runParent is the process that TestTheEngineDiesWithItsParent kills.
func runParent(dir string) error {
	if err := os.Setenv(childVariable, "1"); err != nil {
		return err
	}
	c, err := engine.Supervise(context.Background(), engine.ChildConfig{
		Config: engine.Config{Dir: dir}, Listen: "127.0.0.1:0", Command: []string{os.Args[0]},
	})
	if err != nil {
		return err
	}
	tmp := os.Getenv(reportVariable) + ".tmp"
	if err := os.WriteFile(tmp, fmt.Appendf(nil, "%d %s\n", c.PID(), c.URL()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, os.Getenv(reportVariable)); err != nil {
		return err
	}
	select {}
}

func TestAMissingLibraryIsOneClearError(t *testing.T) {
	_, err := engine.Supervise(t.Context(), engine.ChildConfig{
		Config: engine.Config{Dir: t.TempDir(), Library: "/nowhere/libchdb.so"}, Listen: "127.0.0.1:0", Command: []string{os.Args[0]},
	})
	var missing *chdb.MissingError
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "/nowhere/libchdb.so") || !strings.Contains(err.Error(), "fetchengine") {
		t.Fatalf("got %v", err)
	}
	broken := filepath.Join(t.TempDir(), "libchdb.so")
	if err := os.WriteFile(broken, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(childVariable, "1")
	_, err = engine.Supervise(t.Context(), engine.ChildConfig{
		Config: engine.Config{Dir: t.TempDir(), Library: broken}, Listen: "127.0.0.1:0", Command: []string{os.Args[0]},
	})
	if err == nil || !strings.Contains(err.Error(), broken) {
		t.Fatalf("a broken library: %v", err)
	}
}

func TestTheEngineListensOnLoopbackOnly(t *testing.T) {
	enginetest.Require(t)
	_, err := engine.Supervise(t.Context(), engine.ChildConfig{
		Config: engine.Config{Dir: t.TempDir()}, Listen: "0.0.0.0:0", Command: []string{os.Args[0]},
	})
	if err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Fatalf("got %v", err)
	}
}

func TestAnEngineThatCannotStartSaysWhy(t *testing.T) {
	enginetest.Require(t)
	_, err := engine.Supervise(t.Context(), engine.ChildConfig{
		Config: engine.Config{Dir: t.TempDir()}, Listen: "127.0.0.1:0", Command: []string{"/bin/sh", "-c", "echo the disk is on fire >&2; exit 7"},
	})
	if err == nil || !strings.Contains(err.Error(), "the disk is on fire") {
		t.Fatalf("got %v", err)
	}
}

func TestServeChildByHandExplainsItself(t *testing.T) {
	var out bytes.Buffer
	err := engine.ServeChild(t.Context(), strings.NewReader(""), &out, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "agentmeter run") || !strings.Contains(out.String(), "agentmeter run") {
		t.Fatalf("got %v, %q", err, out.String())
	}
}

func TestTheEnginesMetricsCanBeGathered(t *testing.T) {
	c, d := supervise(t, t.TempDir())
	d.exec("SELECT 1")
	// One that is late is taken for one that is down.
	eventually(t, "the statements are among them", func() bool {
		families, err := c.Gather()
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(families, func(family *dto.MetricFamily) bool {
			return family.GetName() == "agentmeter_engine_statements_total"
		})
	})
}

var _ prometheus.Gatherer = (*engine.Child)(nil)

var _ = enginetest.Start // the shared engine is in a process of its own, too
