// Package enginetest gives tests the real ClickHouse engine.
//
// In: a test. Out: the base URL of an engine that speaks ClickHouse's HTTP
// protocol, and a database of the test's own in it. All tests of a test binary
// share one engine; it runs in a child process (this test binary, run again, see
// init), so that it leaves no goroutines for goleak to find and a crash of it
// fails requests instead of the test binary. The child dies with the test
// binary, whatever ends that, and takes its temporary directory along. No
// TestMain is needed.
package enginetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"agentmeter/internal/embedded/chdb"
	"agentmeter/internal/embedded/engine"
	"agentmeter/internal/slowtest"
)

const (
	// serveVariable makes this very test binary the engine's process: its value is
	// the directory to keep the data in, or temporary.
	serveVariable = "AGENTMETER_ENGINETEST_SERVE"
	temporary     = "temporary"
	// configVariable names a ClickHouse configuration file for that process.
	configVariable = "AGENTMETER_ENGINETEST_CONFIG"
)

func init() {
	if dir := os.Getenv(serveVariable); dir != "" {
		if dir == temporary {
			dir = ""
		}
		stdin, err := engine.TakeStdin()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		// Not os.Exit: with the race detector that runs what C has registered for the
		// exit, and the library's threads, which are still there, crash in it.
		syscall.Exit(serve(context.Background(), dir, os.Getenv(configVariable), stdin, os.Stdout, os.Stderr))
	}
}

// Start returns the engine's base URL and a database that was made for t and is
// dropped when t ends. Without the library the test is skipped and says how to get
// it; where everything is to be run, as by make test, it fails.
func Start(t testing.TB) (baseURL, database string) {
	t.Helper()
	Require(t)
	baseURL, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	database = databaseName(t.Name())
	if err := Exec(t.Context(), baseURL, "CREATE DATABASE "+database); err != nil {
		t.Fatalf("create test database: %v", err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context()) // it is cancelled by now
		if err := Exec(ctx, baseURL, "DROP DATABASE "+database); err != nil {
			t.Errorf("drop test database: %v", err)
		}
	})
	return baseURL, database
}

// StartIn returns the base URL of an engine that keeps its data in dir, for
// benchmarks that would take too long to make theirs each time. It ends with
// the test binary; there may be one at a time for a directory.
func StartIn(t testing.TB, dir string) (baseURL string) {
	t.Helper()
	return startOwn(t, dir, "")
}

// StartConfigured returns the base URL of an engine of the test's own that has a
// ClickHouse configuration, given as XML: one server of a cluster, as far as an
// engine that listens to no other goes.
func StartConfigured(t testing.TB, config string) (baseURL string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.xml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return startOwn(t, temporary, file)
}

func startOwn(t testing.TB, dir, config string) (baseURL string) {
	t.Helper()
	Require(t)
	own, err := startProcess(dir, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(own.stdin.Close(), own.cmd.Wait()); err != nil {
			t.Errorf("stop test engine: %v", err)
		}
	})
	return own.url
}

// Require skips the test where the engine's library is missing; where everything is to be
// run, it fails.
func Require(t testing.TB) {
	t.Helper()
	if _, err := chdb.Find(""); err != nil {
		if slowtest.Wanted() {
			t.Fatal(err)
		}
		t.Skipf("THE ENGINE IS MISSING, NOT RUN: %v", err)
	}
}

// Exec runs one statement without a result.
func Exec(ctx context.Context, baseURL, sql string) error {
	_, err := Query(ctx, baseURL, "default", sql)
	return err
}

// Query runs one statement in the database and returns its result, tab separated.
func Query(ctx context.Context, baseURL, database, sql string) (string, error) {
	address := baseURL + "/?database=" + url.QueryEscape(database)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(sql))
	if err != nil {
		return "", err
	}
	// A transport of its own leaves no idle connection behind.
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(body)))
	}
	return string(body), err
}

// process is an engine's. The garbage collector would close its standard input,
// so whoever started it keeps it.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	url   string
}

// child is the process that tests share.
var child *process

var (
	databases atomic.Int64
	notWord   = regexp.MustCompile(`\W+`)
)

func databaseName(test string) string {
	name := notWord.ReplaceAllString(test, "_")
	return fmt.Sprintf("t%d_%.60s", databases.Add(1), name)
}

// shared starts the engine's process, once a test binary.
var shared = sync.OnceValues(func() (string, error) {
	var err error
	if child, err = startProcess(temporary, ""); err != nil {
		return "", err
	}
	return child.url, nil
})

func startProcess(dir, config string) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start test engine: %w", err)
	}
	cmd := exec.Command(exe) //nolint:gosec,noctx // this binary, for as long as it runs
	// A data race in that process ends it, and so fails tests: nobody hears its exit status.
	race := "GORACE=halt_on_error=1 " + os.Getenv("GORACE")
	cmd.Env = append(os.Environ(), serveVariable+"="+dir, configVariable+"="+config, race)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start test engine: %w", err)
	}
	own := &process{cmd: cmd}
	// Nobody writes to this end: it closes when this process ends at the latest,
	// and that is what ends the child.
	if own.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start test engine: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start test engine: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start test engine: it ended before it was ready: %w", err), cmd.Wait())
	}
	own.url = strings.TrimSpace(line)
	return own, nil
}

// serve is the child: an engine in a directory until stdin ends, a temporary
// one if none is named.
func serve(ctx context.Context, dir, config string, stdin io.Reader, stdout, stderr io.Writer) int {
	// Ctrl-C and time limits reach the whole process group; the end of stdin,
	// which follows, leaves time to tidy up.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	kept := dir != ""
	if !kept {
		var err error
		if dir, err = os.MkdirTemp("", "agentmeter-enginetest-"); err != nil {
			log.Error("test engine", "error", err)
			return 1
		}
		defer func() {
			// The engine is not closed (a test's statement may run for minutes) and
			// may write one more file while its directory goes.
			for range 100 {
				if os.RemoveAll(dir) == nil { //nolint:gosec // the one made above
					return
				}
			}
		}()
	}
	e, err := engine.Open(engine.Config{Dir: dir, ConfigFile: config, Logger: log})
	if err != nil {
		log.Error("test engine", "error", err)
		return 1
	}
	// The engine writes schemas that come with a statement into the working directory,
	// whatever format_schema_path says, and a test binary's is its package's.
	if err := os.Chdir(dir); err != nil {
		log.Error("test engine", "error", err)
		return 1
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		log.Error("test engine", "error", err)
		return 1
	}
	go func() { _ = e.Serve(ctx, l) }()
	fmt.Fprintf(stdout, "http://%s\n", l.Addr())
	_, _ = io.Copy(io.Discard, stdin) // until the test binary is gone
	if kept {
		if err := e.Close(); err != nil {
			log.Error("test engine", "error", err)
			return 1
		}
	}
	return 0 // a temporary engine is not closed: its data goes anyway
}
