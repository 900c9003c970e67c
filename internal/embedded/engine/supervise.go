package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"agentmeter/internal/embedded/chdb"
)

const (
	// readyPatience is how long an engine may take to answer: it has to load
	// every part of every table first.
	readyPatience = 2 * time.Minute
	// firstPause and longestPause bound the wait before a crashed engine is
	// started again; the pause doubles until the engine has been up for steady.
	firstPause   = 50 * time.Millisecond
	longestPause = 5 * time.Second
	steady       = 10 * time.Second
	// tailLines and lineBytes bound what is kept of a crash's last words.
	tailLines = 20
	lineBytes = 4096
)

// ChildConfig says how to run the engine in a process of its own.
type ChildConfig struct {
	// Config is the engine's; its Logger gets the child's log, its Registerer
	// the supervisor's metrics (the engine's own come from Gather).
	Config
	// Listen is a loopback host:port; port 0 takes a free one.
	Listen string
	// Command is the program and arguments that end up in ServeChild.
	Command []string
}

// Validate reports every fault at once.
func (c ChildConfig) Validate() error {
	faults := []error{c.Config.Validate()}
	if c.Listen == "" {
		faults = append(faults, errors.New("--clickhouse-listen: an address is required, HOST:PORT"))
	}
	if len(c.Command) == 0 {
		faults = append(faults, errors.New("engine: no command to run it with"))
	}
	return errors.Join(faults...)
}

// Child is an engine in a process of its own, kept running: when it crashes it
// is started again on the same address, where clients' connections wait
// meanwhile; statements that were under way fail. It dies with this process.
type Child struct {
	cfg      ChildConfig
	log      *slog.Logger
	order    childOrder
	listener *net.TCPListener
	url      string
	up       prometheus.Gauge
	crashes  prometheus.Counter

	restarts atomic.Uint64
	stopping chan struct{} // closed by Stop
	stopOnce sync.Once
	stopped  chan struct{} // closed when the last process is gone

	mu      sync.Mutex
	process *process // the current one, nil in between
	version string
	lastErr error // of the process that was told to stop
}

// Supervise starts the engine's process and returns when it answers, or when
// its first start failed. ctx bounds that wait alone; Stop ends the rest.
func Supervise(ctx context.Context, cfg ChildConfig) (*Child, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := buildable(); err != nil {
		return nil, err // before the library is looked for: getting it would not help
	}
	cfg.Config = cfg.withDefaults()
	library, err := chdb.Find(cfg.Library)
	if err != nil {
		return nil, err // as it is: it says what to do
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	if err := requireLoopback(l.Addr()); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	c := &Child{
		cfg: cfg, log: cfg.Logger, listener: l.(*net.TCPListener), url: "http://" + l.Addr().String(),
		order: childOrder{
			Dir: cfg.Dir, Library: library, ConfigFile: cfg.ConfigFile, MemoryBytes: cfg.MemoryBytes,
			MaxStatements: cfg.MaxStatements, MaxWaiting: cfg.MaxWaiting,
			MaxBodyBytes: cfg.MaxBodyBytes, MaxResultBytes: cfg.MaxResultBytes, LogLevel: logLevel(cfg.Logger),
		},
		stopping: make(chan struct{}), stopped: make(chan struct{}),
	}
	c.registerMetrics(cfg.Registerer)

	first := make(chan error, 1)
	go c.run(first)
	select {
	case err := <-first:
		if err == nil {
			return c, nil
		}
		<-c.stopped
		return nil, errors.Join(err, l.Close())
	case <-ctx.Done():
		gone, cancel := context.WithCancel(context.WithoutCancel(ctx))
		cancel() // no patience: it has not begun to serve
		_ = c.Stop(gone)
		return nil, fmt.Errorf("start engine: %w", context.Cause(ctx))
	}
}

func (c *Child) registerMetrics(r prometheus.Registerer) {
	c.up = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "agentmeter_engine_up", Help: "Whether the embedded engine's process answers.",
	})
	c.crashes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "agentmeter_engine_crashes_total", Help: "Times the embedded engine's process ended without being told to.",
	})
	if r != nil {
		r.MustRegister(c.up, c.crashes)
	}
}

// URL is the engine's base URL; it stays the same across restarts.
func (c *Child) URL() string { return c.url }

// Version is the ClickHouse version that the engine reported.
func (c *Child) Version() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// Restarts is how often the engine was started again after a crash.
func (c *Child) Restarts() uint64 { return c.restarts.Load() }

// PID is the current process's id, 0 while there is none.
func (c *Child) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return 0
	}
	return c.process.cmd.Process.Pid
}

// Stop lets the engine finish what it runs and waits for its process to end;
// when ctx ends first, the process is killed. It is safe to call twice.
func (c *Child) Stop(ctx context.Context) error {
	c.stopOnce.Do(func() { close(c.stopping) })
	select {
	case <-c.stopped:
	case <-ctx.Done():
		c.mu.Lock()
		if c.process != nil {
			_ = c.process.cmd.Process.Kill() // it may have ended just now
		}
		c.mu.Unlock()
		<-c.stopped
	}
	err := c.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(err, c.lastErr)
}

// Gather returns the engine's own metrics, or none while it is down.
func (c *Child) Gather() ([]*dto.MetricFamily, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("engine metrics: %w", err)
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return nil, nil // it is down, which agentmeter_engine_up tells
	}
	defer res.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		return nil, fmt.Errorf("engine metrics: %w", err)
	}
	out := make([]*dto.MetricFamily, 0, len(families))
	for _, family := range families {
		out = append(out, family)
	}
	return out, nil
}

// run starts the engine's process again and again until Stop. It reports how
// the first start went.
func (c *Child) run(first chan<- error) {
	defer close(c.stopped)
	// On Linux a child is told about the death of the *thread* that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	pause := firstPause
	for {
		began := time.Now()
		p, err := c.start()
		if err == nil {
			err = p.ready()
		}
		if first != nil {
			first <- err
			if err != nil {
				p.end()
				return
			}
			first = nil
		}
		if err == nil {
			c.up.Set(1)
			c.mu.Lock()
			c.version = p.report.Version
			c.mu.Unlock()
			err = p.wait(c.stopping)
			c.up.Set(0)
		} else {
			p.end()
		}
		c.mu.Lock()
		c.process = nil
		c.mu.Unlock()

		select {
		case <-c.stopping:
			c.mu.Lock()
			c.lastErr = err
			c.mu.Unlock()
			return
		default:
		}
		c.crashes.Inc()
		if time.Since(began) > steady {
			pause = firstPause
		}
		c.log.Error("engine process ended; starting it again", "error", err, "pause", pause, "up_for", time.Since(began))
		select {
		case <-c.stopping:
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
		c.restarts.Add(1)
	}
}

// start runs the command. The process is returned even with an error, to be ended.
func (c *Child) start() (*process, error) {
	file, err := c.listener.File()
	if err != nil {
		return nil, fmt.Errorf("start engine process: %w", err)
	}
	defer file.Close()
	// Without a context: the process ends by Stop, which lets it finish.
	cmd := exec.Command(c.cfg.Command[0], c.cfg.Command[1:]...) //nolint:gosec,noctx // this program itself; Stop ends it, not a context
	cmd.ExtraFiles = []*os.File{file}                           // descriptor 3
	dieWithParent(cmd)
	p := &process{cmd: cmd, log: c.log, reported: make(chan error, 1)}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start engine process: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start engine process: %w", err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start engine process: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start engine process: %w", err)
	}
	c.mu.Lock()
	c.process = p
	c.mu.Unlock()
	p.readers.Go(func() { p.readReport(stdout) })
	p.readers.Go(func() { p.readLog(stderr) })
	// A process that ended before it read its order leaves a broken pipe; ready
	// says what it said last, which is why.
	if err := json.NewEncoder(p.stdin).Encode(c.order); err != nil && !errors.Is(err, syscall.EPIPE) {
		return p, fmt.Errorf("start engine process: order: %w", err)
	}
	return p, nil
}

// process is one run of the engine's process.
type process struct {
	cmd      *exec.Cmd
	log      *slog.Logger
	stdin    io.WriteCloser
	readers  sync.WaitGroup
	reported chan error
	report   childReport

	mu   sync.Mutex
	tail []string // the last lines that were not log lines
}

// ready waits for the process's report.
func (p *process) ready() error {
	timeout := time.NewTimer(readyPatience)
	defer timeout.Stop()
	select {
	case err := <-p.reported:
		if err != nil {
			p.hearOut()
			return fmt.Errorf("start engine process: it ended before it was ready: %w%s", err, p.lastWords())
		}
	case <-timeout.C:
		return fmt.Errorf("start engine process: not ready after %s", readyPatience)
	}
	if p.report.InUse {
		// The text names the directory and begins with the same words.
		return inUseError{p.report.Error}
	}
	if p.report.Error != "" {
		return errors.New(p.report.Error)
	}
	return nil
}

// inUseError is ErrInUse as told by another process.
type inUseError struct{ text string }

func (e inUseError) Error() string   { return e.text }
func (inUseError) Is(err error) bool { return err == ErrInUse }

// wait returns when the process has ended; it is told to stop when stopping is closed.
func (p *process) wait(stopping <-chan struct{}) error {
	ended := make(chan error, 1)
	go func() {
		p.readers.Wait() // before Wait, which closes what they read
		ended <- p.cmd.Wait()
	}()
	select {
	case err := <-ended:
		if err == nil {
			err = errors.New("it ended without being told to")
		}
		return fmt.Errorf("engine process: %w%s", err, p.lastWords())
	case <-stopping:
	}
	_, _ = io.WriteString(p.stdin, stopOrder+"\n") // it may be gone already
	if err := <-ended; err != nil {
		return fmt.Errorf("stop engine process: %w%s", err, p.lastWords())
	}
	return nil
}

// end kills a process that did not become ready.
func (p *process) end() {
	if p == nil || p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended by itself
	p.readers.Wait()
	_ = p.cmd.Wait()
}

func (p *process) readReport(stdout io.Reader) {
	r := bufio.NewReader(stdout)
	line, err := r.ReadString('\n')
	if err == nil {
		err = json.Unmarshal([]byte(line), &p.report)
	}
	p.reported <- err
	_, _ = io.Copy(io.Discard, r) // so that the process never blocks on it
}

// readLog passes the process's log lines on and keeps what else it says.
func (p *process) readLog(stderr io.Reader) {
	r := bufio.NewReaderSize(stderr, lineBytes)
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			p.logLine(line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func (p *process) logLine(line []byte) {
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.tail) == tailLines {
			p.tail = append(p.tail[:0], p.tail[1:]...)
		}
		p.tail = append(p.tail, strings.TrimSpace(string(line)))
		return
	}
	var level slog.Level
	if text, ok := fields[slog.LevelKey].(string); ok {
		_ = level.UnmarshalText([]byte(text)) // else it is information
	}
	message, _ := fields[slog.MessageKey].(string)
	attrs := make([]slog.Attr, 0, len(fields))
	for key, value := range fields {
		switch key {
		case slog.LevelKey, slog.MessageKey, slog.TimeKey:
		default:
			attrs = append(attrs, slog.Any(key, value))
		}
	}
	p.log.LogAttrs(context.Background(), level, message, attrs...) //nolint:sloglint // constant where it was written
}

// hearOut waits until the process has said everything, if it takes no longer
// than a moment.
func (p *process) hearOut() {
	said := make(chan struct{})
	go func() {
		p.readers.Wait()
		close(said)
	}()
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-said:
	case <-timer.C:
	}
}

// lastWords is what a crashing process left on its standard error.
func (p *process) lastWords() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.tail) == 0 {
		return ""
	}
	return "; its last words: " + strings.Join(p.tail, " | ")
}

// logLevel is the lowest level that log takes.
func logLevel(log *slog.Logger) slog.Level {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn} {
		if log.Enabled(context.Background(), level) {
			return level
		}
	}
	return slog.LevelError
}
