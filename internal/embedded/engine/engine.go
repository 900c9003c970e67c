package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/prometheus/client_golang/prometheus"

	"agentmeter/internal/embedded/chdb"
	"agentmeter/internal/embedded/dirlock"
)

// ErrInUse is returned by Open when another process holds the data directory.
var ErrInUse = dirlock.ErrInUse

// errOnePerProcess: the library keeps its state in globals.
var errOnePerProcess = errors.New("an engine is open in this process already: one process has one engine")

// open guards that there is one engine in this process.
var open sync.Mutex

// Engine is ClickHouse in this process, on one data directory.
type Engine struct {
	cfg      Config
	log      *slog.Logger
	lock     *flock.Flock
	pool     *pool
	ids      runningIDs
	metrics  *metrics
	registry *prometheus.Registry
	rootMu   sync.Mutex // guards root
	root     *session   // keeps the engine up while the pool is empty, and stops statements
	version  string
	zone     string
	started  time.Time
}

// Open locks the data directory, loads the library and starts the engine. It
// returns the library's [chdb.MissingError] as it is, and [ErrInUse] when
// another process has the directory.
func Open(cfg Config) (_ *Engine, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if !open.TryLock() {
		return nil, errOnePerProcess
	}
	defer func() {
		if err != nil {
			open.Unlock()
		}
	}()

	path, err := chdb.Find(cfg.Library)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("engine data directory: %w", err)
	}
	cfg.Dir = dir
	lock, err := dirlock.Take("engine", dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Unlock())
		}
	}()
	if err := loadLibrary(path); err != nil {
		return nil, err
	}

	e := &Engine{cfg: cfg, log: cfg.Logger, lock: lock, started: time.Now(), registry: prometheus.NewRegistry()}
	e.metrics = newMetrics(e.registry)
	if cfg.Registerer != nil {
		e.metrics.register(cfg.Registerer)
	}
	if e.root, err = openSession(e.sessionArgs()); err != nil {
		return nil, fmt.Errorf("start engine on %s: %w", dir, err)
	}
	defer func() {
		if err != nil {
			e.root.close()
		}
	}()
	if err := e.readIdentity(); err != nil {
		return nil, fmt.Errorf("start engine on %s: %w", dir, err)
	}
	e.pool = newPool(cfg.MaxStatements, cfg.MaxWaiting, e.openSession)
	e.ids.running = make(map[string]struct{})
	e.log.Info("engine started", "dir", dir, "version", e.version, "took", time.Since(e.started).Round(time.Millisecond).String())
	return e, nil
}

// Version is the ClickHouse version that the engine is, like 26.7.2.1.
func (e *Engine) Version() string { return e.version }

// Close waits for the statements under way and stops the engine. The handler
// must not be called any more.
func (e *Engine) Close() error {
	e.pool.close()
	e.root.close()
	err := e.lock.Unlock()
	open.Unlock()
	e.log.Info("engine stopped", "dir", e.cfg.Dir)
	return err
}

// serverSettings are consumed by the connection that boots the engine.
func (e *Engine) serverSettings() map[string]string {
	return map[string]string{
		"path":                    e.cfg.Dir,
		"max_server_memory_usage": strconv.FormatInt(e.cfg.MemoryBytes, 10),
		// The caches' defaults are sized for a server's machine (marks: 5 GiB).
		"mark_cache_size":                strconv.FormatInt(e.cfg.MemoryBytes/16, 10),
		"index_mark_cache_size":          strconv.FormatInt(e.cfg.MemoryBytes/64, 10),
		"primary_index_cache_size":       strconv.FormatInt(e.cfg.MemoryBytes/16, 10),
		"uncompressed_cache_size":        "0",
		"index_uncompressed_cache_size":  "0",
		"mmap_cache_size":                "128",
		"query_condition_cache_size":     strconv.FormatInt(e.cfg.MemoryBytes/64, 10),
		"compiled_expression_cache_size": strconv.FormatInt(e.cfg.MemoryBytes/64, 10),
		"max_thread_pool_size":           "1000",
		"max_thread_pool_free_size":      "32",
		"max_io_thread_pool_free_size":   "0",
	}
}

// querySettings are where libchdb's defaults differ from a server's, or where a
// default would be wrong here.
func (e *Engine) querySettings() map[string]string {
	return map[string]string{
		"implicit_select":               "0", // a server's default
		"allow_introspection_functions": "0", // likewise
		"async_insert":                  "0", // nothing to gather in one process
		// Both caches know a file by its path, and the path of a request's body
		// is /proc/self/fd/N again and again.
		"use_cache_for_count_from_files":        "0",
		"schema_inference_use_cache_for_file":   "0",
		"log_queries":                           "0", // no system.query_log to fill
		"input_format_parallel_parsing":         "0", // a body's rows keep their order
		"output_format_arrow_use_native_writer": "1", // a server's default
	}
}

func (e *Engine) sessionArgs() []string {
	var args []string
	for _, settings := range []map[string]string{e.serverSettings(), e.querySettings()} {
		for name, value := range settings {
			args = append(args, "--"+name+"="+value)
		}
	}
	if e.cfg.ConfigFile != "" {
		args = append(args, "--config-file="+e.cfg.ConfigFile)
	}
	return args
}

// readIdentity asks the engine what it is.
func (e *Engine) readIdentity() error {
	r := e.root.query([]byte("SELECT version(), timezone()"), "TSV", nil)
	defer r.release()
	if r.err != nil {
		return r.err
	}
	version, zone, ok := strings.Cut(strings.TrimSpace(string(r.data)), "\t")
	if !ok {
		return fmt.Errorf("identity %q", r.data)
	}
	e.version, e.zone = version, zone
	return nil
}

// openSession makes a session as spec asks for.
func (e *Engine) openSession(spec sessionSpec) (_ *session, err error) {
	s, err := openSession(e.sessionArgs())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	spec = spec.marked(s)
	for _, sql := range spec.statements() {
		r := s.query([]byte(sql), "Null", nil)
		r.release()
		if r.err != nil {
			return nil, r.err
		}
	}
	return s, nil
}
